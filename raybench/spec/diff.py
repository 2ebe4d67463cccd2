"""Compare two specs of one name: what the new one adds to the old, and what it contradicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raybench.spec.experiment import ExperimentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """Difference of a spec from the stored one; both lists are empty if no measurement is affected."""

    extends: list[str]
    """Additions that leave existing measurements valid."""
    conflicts: list[str]
    """Changes that would make new measurements incomparable with the existing ones."""
    stale_evaluators: list[str]
    """Evaluators to run again, because a dataset that only evaluators read has changed."""


def diff(old: ExperimentSpec, new: ExperimentSpec) -> SpecChange:
    """Compare what determines measurements; resources and the budget's name do not.

    Additional backbones, tasks, seeds, evaluators and trials extend an experiment, and so does another source
    of a dataset that only evaluators read: no trial depends on it. Any other change conflicts, and so does
    removing any of them: existing measurements stay in the table.
    """
    extends: list[str] = []
    conflicts: list[str] = []
    lists: list[tuple[str, Sequence[object], Sequence[object]]] = [
        ("backbones", [info.name for info in old.backbones], [info.name for info in new.backbones]),
        ("tasks", [str(task) for task in old.tasks], [str(task) for task in new.tasks]),
        ("seeds", old.seeds, new.seeds),
        ("evaluators", list(old.evaluators), list(new.evaluators)),
    ]
    for key, before, after in lists:
        added = [str(item) for item in after if item not in before]
        removed = [str(item) for item in before if item not in after]
        if added:
            extends.append(f"{key}: adds {', '.join(added)}")
        if removed:
            conflicts.append(f"{key}: lacks {', '.join(removed)}, already planned or measured")
    was_trials, now_trials = old.search.num_trials, new.search.num_trials
    if now_trials > was_trials:
        extends.append(f"search.num_trials: {was_trials} → {now_trials}")
    if now_trials < was_trials:
        conflicts.append(f"search.num_trials: {was_trials} → {now_trials}; trials cannot be taken back")
    if old.spaces != new.spaces:
        extends.append("spaces: changed; trials that lie in the new spaces count, others are replaced")
    changed = _changed_datasets_of_evaluators(old, new)
    stale = sorted({evaluator for name in changed for evaluator in old.evaluators_reading(name)})
    for name in changed:
        extends.append(f"datasets.{name}: changed; {', '.join(stale) or 'no evaluator'} measures again")
    for key, was, now in _fixed_parts(old, new, without=changed):
        if was != now:
            conflicts.append(f"{key}: {was} → {now}")
    return SpecChange(extends=extends, conflicts=conflicts, stale_evaluators=stale)


def _changed_datasets_of_evaluators(old: ExperimentSpec, new: ExperimentSpec) -> list[str]:
    """Datasets that no task of the old spec fits or measures, and whose row changed."""
    of_tasks = {task.dataset for task in old.tasks}
    was, now = old.to_dict()["datasets"], new.to_dict()["datasets"]
    return [
        name
        for name, row in was.items()
        if name not in of_tasks
        and name in now
        and any(row.get(key) != now[name].get(key) for key in {**row, **now[name]} if key not in _DESCRIPTIVE)
    ]


def _fixed_parts(
    old: ExperimentSpec, new: ExperimentSpec, *, without: Sequence[str]
) -> list[tuple[str, Any, Any]]:
    """(Key, old value, new value) of everything that must not change, where both specs have it.

    Args:
        without: datasets that may change.
    """
    parts: list[tuple[str, Any, Any]] = [
        ("name", old.name, new.name),
        ("search.sampler", old.search.sampler, new.search.sampler),
        ("search.early_stopping", old.search.early_stopping, new.search.early_stopping),
        ("search.grid_points", old.search.grid_points, new.search.grid_points),
        ("search.max_parallel", old.search.num_parallel, new.search.num_parallel),
        ("search.converged", old.search.converged, new.search.converged),
        ("search.seed", old.search.seed, new.search.seed),
        ("budget.wall_seconds", old.budget.wall_seconds, new.budget.wall_seconds),
        ("hparams", old.hparams, new.hparams),
        ("features", old.features.text, new.features.text),
    ]
    parts += [
        (f"search.objective of {name}", old.objective_of(name), new.objective_of(name))
        for name in old.protocols
        if name in new.protocols
    ]
    parts += [
        (f"max_epochs.{name}", old.max_epochs[name], new.max_epochs[name])
        for name in old.max_epochs
        if name in new.max_epochs
    ]
    parts += [
        (f"evaluators.{name}", old.evaluators[name], new.evaluators[name])
        for name in old.evaluators
        if name in new.evaluators
    ]
    was, now = old.to_dict(), new.to_dict()
    old_rows = {row["name"]: row for row in was["backbones"]}
    new_rows = {row["name"]: row for row in now["backbones"]}
    pairs = [(f"backbones.{name}", old_rows[name], new_rows[name]) for name in old_rows if name in new_rows]
    pairs += [
        (f"datasets.{name}", row, now["datasets"][name])
        for name, row in was["datasets"].items()
        if name in now["datasets"] and name not in without
    ]
    for where, row, other in pairs:
        keys = [key for key in {**row, **other} if key not in _DESCRIPTIVE]
        parts += [(f"{where}.{key}", row.get(key), other.get(key)) for key in keys]
    return parts


_DESCRIPTIVE = ("family", "licence", "citation", "steps", "groups", "params_m", "num_images")
"""Keys of a row that affect no measurement."""
