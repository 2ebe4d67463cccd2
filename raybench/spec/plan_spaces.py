"""The part of a plan about search spaces: what is searched for which backbones, and how large it is."""

from raybench.catalog.search_spaces import Choice, Dimension, Grid, SearchSpace, num_choices
from raybench.catalog.tasks import PROTOCOLS, ProtocolInfo
from raybench.spec.experiment import ExperimentSpec

MANY_VALUES = 8
"""From this number on, values of a packed hyperparameter are counted instead of listed."""
SHOWN_NAMES = 4


def space_lines(spec: ExperimentSpec) -> list[str]:
    """One sentence per protocol and group of backbones with the same space; none for a recipe."""
    if spec.hparams is not None:
        return []
    lines = []
    for protocol in spec.protocols:
        info = PROTOCOLS[protocol]
        groups: dict[str, list[str]] = {}
        for backbone in spec.backbones:
            space = spec.space_of(protocol, backbone.name)
            text = _described(info, space, spec.packed_of(protocol, backbone.name))
            groups.setdefault(text, []).append(backbone.name)
        for text, names in groups.items():
            whose = f" ({_some(names)})" if len(groups) > 1 else ""
            lines.append(f"{protocol}{whose}: {text or 'nothing'}")
    return lines


def is_same_for_all(spec: ExperimentSpec) -> bool:
    """Whether all backbones have the same spaces."""
    return all(
        len({repr((spec.space_of(p, b.name), spec.packed_of(p, b.name))) for b in spec.backbones}) == 1
        for p in spec.protocols
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"


def _described(info: ProtocolInfo, space: SearchSpace, changed: Grid) -> str:
    parts = [f"{name} {_values(dimension)}" for name, dimension in space.items()]
    size = num_choices(space)
    if len(space) > 1 or size is None:
        parts.append("continuous" if size is None else f"{size} choices")
    solvers = space.get(info.packed_by)
    searched = solvers.options if isinstance(solvers, Choice) else tuple(info.packed)
    grids = [grid for solver, grid in info.packed.items() if solver is None or solver in searched]
    packed = {name: changed.get(name, values) for grid in grids for name, values in grid.items()}
    inside = [f"{name} {_listed(values)}" for name, values in packed.items()]
    return " · ".join(parts) + (f"; within each trial {' · '.join(inside)}" if inside else "")


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        text = "|".join(map(_short, dimension.options))
    else:
        text = f"{_short(dimension.low)} to {_short(dimension.high)}" + (" (log)" if dimension.log else "")
    conditions = [f"{name} {'|'.join(map(_short, values))}" for name, values in dimension.when.items()]
    return text + (f" (with {' and '.join(conditions)})" if conditions else "")


def _listed(values: tuple[object, ...]) -> str:
    if len(values) < MANY_VALUES:
        return "|".join(map(_short, values))
    return f"{_short(values[0])} to {_short(values[-1])} ({len(values)} values)"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
