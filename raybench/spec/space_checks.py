"""Checks of the key `spaces` of a spec; every problem is reported with its line."""

import fnmatch
import math
from collections.abc import Mapping, Sequence

from raybench.catalog.backbones import expand
from raybench.catalog.search_spaces import Choice, SearchSpace
from raybench.catalog.space_changes import SpaceChange, changed_grid, changed_space
from raybench.catalog.tasks import PROTOCOLS, ProtocolInfo
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest
from raybench.spec.document import Location
from raybench.spec.names import Report
from raybench.spec.spaces import MAX_PACKED, SpaceEntry


def resolve_spaces(
    entries: Sequence[tuple[int, SpaceEntry]],
    backbones: Sequence[str],
    max_epochs: Mapping[str, int],
    report: Report,
    *,
    is_searched: bool,
) -> list[SpaceEntry]:
    """The spec's entries with the names of their backbones; every problem is reported.

    Args:
        entries: (position, entry) of the well-formed items of `spaces`.
        backbones: names of the spec's backbones.
        max_epochs: protocol of a task → epochs of one trial; empty if the budget is unknown or no task is
            valid. Both are reported elsewhere, and no entry can be checked then.
        report: takes the problems.
        is_searched: False if `hparams` or `preset` fix the hyperparameters.
    """
    if not max_epochs:
        return []
    resolved: list[SpaceEntry] = []
    for position, entry in entries:
        where: Location = ("spaces", position)
        if entry.protocol not in max_epochs:
            hint = suggest(entry.protocol, max_epochs) or "."
            report(
                (*where, "protocol"),
                f"no task uses protocol {entry.protocol!r}{hint} The tasks use {', '.join(max_epochs)}.",
            )
            continue
        names = None if entry.backbones is None else _names(entry.backbones, backbones, where, report)
        named = entry.model_copy(update={"backbones": names})
        if _fits(named, [*resolved, named], max_epochs[entry.protocol], where, report, is_searched):
            resolved.append(named)
    return resolved


def _names(patterns: Sequence[str], backbones: Sequence[str], where: Location, report: Report) -> list[str]:
    """The spec's backbones that names, globs and groups stand for."""
    named: dict[str, None] = {}
    for position, pattern in enumerate(patterns):
        try:
            members = set(expand(pattern)) if pattern.startswith("@") else set()
        except UnknownNameError as error:
            report((*where, "backbones", position), str(error))
            continue
        matching = [name for name in backbones if name in members or fnmatch.fnmatchcase(name, pattern)]
        if not matching:
            hint = suggest(pattern, backbones) or "."
            report((*where, "backbones", position), f"{pattern!r} is none of the spec's backbones{hint}")
        named.update(dict.fromkeys(matching))
    return [name for name in backbones if name in named]


def _fits(
    entry: SpaceEntry,
    entries: Sequence[SpaceEntry],
    max_epochs: int,
    where: Location,
    report: Report,
    is_searched: bool,
) -> bool:
    """Check one entry's dimensions, on top of the entries before it."""
    info = PROTOCOLS[entry.protocol]
    dimensions = {**info.space, **info.optional, **info.packed_values}
    base = info.space_within(max_epochs)
    problems: dict[Location, str] = {}
    for name, dimension in entry.change.space.items():
        location = (*where, "space", name)
        if name not in dimensions:
            hint = suggest(name, dimensions) or "."
            has = ", ".join(dimensions) or "none"
            problems[location] = f"{info.name} has no hyperparameter {name!r}{hint} It has {has}."
        elif not is_searched and name not in info.packed_values:
            problems[location] = (
                f"`hparams` or `preset` fixes the hyperparameters, so {name} is not searched; remove it here."
            )
        else:
            single = SpaceChange(protocol=entry.protocol, space={name: dimension})
            try:
                changed_space(base, info, [single], max_epochs)
                changed_grid(info, [single])
            except ValueError as error:
                problems[location] = f"`{name}` {error}"
    if not problems:
        problems = _problems_together(entry, entries, info, base, max_epochs, where)
    for location, sentence in problems.items():
        report(location, sentence)
    return not problems


def _problems_together(
    entry: SpaceEntry,
    entries: Sequence[SpaceEntry],
    info: ProtocolInfo,
    base: SearchSpace,
    max_epochs: int,
    where: Location,
) -> dict[Location, str]:
    """Problems of dimensions that are each sound: conditions that never hold, and too large a grid."""
    of_protocol = [other.change for other in entries if other.protocol == info.name]
    space = changed_space(base, info, of_protocol, max_epochs)
    for name, dimension in entry.change.space.items():
        for other, values in dimension.when.items():
            location = (*where, "space", name, "when")
            if other == name or other not in space or space[other].when:
                known = [key for key, value in space.items() if key != name and not value.when]
                return {
                    location: f"`when` of {name} names {other!r}; it may name {', '.join(known)}, which "
                    "have no `when` of their own."
                }
            options = space[other]
            if not (isinstance(options, Choice) and set(values) & set(options.options)):
                return {location: f"{other} never has the value {values[0]!r}, so {name} is never searched."}
    for grid in info.packed.values():
        changed = {**grid, **{k: v for k, v in changed_grid(info, of_protocol).items() if k in grid}}
        if (size := math.prod(map(len, changed.values()))) > MAX_PACKED:
            return {
                (*where, "space"): f"one trial of {info.name} would train {size} heads at once; at most "
                f"{MAX_PACKED} are allowed, so give fewer values."
            }
    return {}
