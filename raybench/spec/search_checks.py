"""Checks of the key `search` that need the resolved search spaces."""

from raybench.catalog.grid import GridPoints, grid_choices
from raybench.catalog.search_spaces import Choice, SearchSpace
from raybench.core.registry import suggest
from raybench.spec.experiment import MODEL_SAMPLERS, ExperimentSpec
from raybench.spec.names import Report


def check_search(spec: ExperimentSpec, report: Report) -> None:
    """Report keys that the sampler does not use, and a grid that is incomplete or larger than the search."""
    search = spec.search
    if search.max_parallel is not None and search.sampler not in MODEL_SAMPLERS:
        report(
            ("search", "max_parallel"),
            f"`search.max_parallel` is for the samplers {' and '.join(MODEL_SAMPLERS)}, which learn from "
            f"results; with `sampler: {search.sampler}` remove it.",
        )
    if search.sampler != "grid":
        if search.grid_points:
            report(
                ("search", "grid_points"),
                f"`search.grid_points` is for `sampler: grid`; with `sampler: {search.sampler}` remove it.",
            )
        return
    if spec.hparams is not None:
        return
    spaces = [
        (protocol, info.name, spec.space_of(protocol, info.name))
        for protocol in spec.protocols
        for info in spec.backbones
    ]
    if not _check_names([space for _, _, space in spaces], search.grid_points, report):
        return
    for protocol, backbone, space in spaces:
        if problem := _grid_problem(space, search.grid_points, search.num_trials):
            report(("search", "sampler"), f"the grid of {protocol} for {backbone} {problem}")
            return


def _check_names(spaces: list[SearchSpace], points: GridPoints, report: Report) -> bool:
    """Whether every key of `grid_points` is a range of some space; others are reported."""
    ranges = sorted({name for space in spaces for name, d in space.items() if not isinstance(d, Choice)})
    choices = {name for space in spaces for name in space} - set(ranges)
    is_sound = True
    for name in points:
        if name in ranges:
            continue
        is_sound = False
        if name in choices:
            sentence = f"{name} is a choice, and a grid tries all of its options; remove it here."
        else:
            hint = suggest(name, ranges) or "."
            sentence = f"no search space has a range {name!r}{hint} Ranges: {', '.join(ranges) or 'none'}."
        report(("search", "grid_points", name), sentence)
    return is_sound


def _grid_problem(space: SearchSpace, points: GridPoints, num_trials: int) -> str | None:
    """What is wrong with the grid of one space, as the end of a sentence; None if nothing is."""
    missing = [
        name
        for name, d in space.items()
        if not isinstance(d, Choice) and d.low != d.high and name not in points
    ]
    if missing:
        return (
            f"needs a number of values for the ranges {', '.join(missing)}: add for example "
            f"`grid_points: {{{missing[0]}: 3}}` to `search`, or list `values` in `spaces`."
        )
    try:
        size = len(grid_choices(space, points))
    except ValueError as error:
        return f"is too large: {error}; give fewer values."
    if size > num_trials:
        return (
            f"has {size} choices, the defaults included, but the search has {num_trials} trials per pair; "
            "give fewer values, or raise `search.num_trials` (and `budget`, if it allows no more)."
        )
    return None
