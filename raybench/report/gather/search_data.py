"""How the searches went, from the ledger: trials, learning curves, best values on an edge, importance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from raybench.analysis.early_stopping import LEARNING
from raybench.analysis.packed_effects import main_effects
from raybench.catalog.search_spaces import Grid, Limits, SearchSpace
from raybench.catalog.space_changes import SpaceChange, changed_grid, changed_space
from raybench.catalog.space_edges import edges, next_values
from raybench.catalog.tasks import PROTOCOLS, ProtocolInfo
from raybench.core.errors import EmptyInputError
from raybench.core.records import TrialRecord
from raybench.metrics import METRICS
from raybench.metrics.preference import Preference, preference
from raybench.store import ledger
from raybench.store.files import StoragePath

PAIR = {"backbone": pl.String, "task": pl.String}
TRIALS = pl.Schema({**PAIR, "direction": pl.String, "value": pl.Float64, "index": pl.Int64})
EDGES = pl.Schema(
    {**PAIR, "hyperparameter": pl.String, "end": pl.String, "value": pl.String, "try_next": pl.String}
)
PACKED = pl.Schema({**PAIR, "grid": pl.String, "hyperparameter": pl.String, "share": pl.Float64})
IMPORTANCE = pl.Schema(
    {
        "experiment": pl.String,
        "scope": pl.String,
        "hyperparameter": pl.String,
        "importance": pl.Float64,
        "by_chance": pl.Float64,
        "num_trials": pl.Int64,
        "num_pairs": pl.Int64,
    }
)


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """Frames about the search; all empty where there was none."""

    trials: pl.DataFrame
    """Search trials with their objective on val."""
    learning: pl.DataFrame
    """Search trials epoch by epoch."""
    winners: pl.DataFrame
    """Pairs whose search has a best trial."""
    edges: pl.DataFrame
    """Hyperparameters of best trials at an end of their space or packed grid."""
    packed: pl.DataFrame
    """Per best trial and dimension of its packed grid: share of the variance over its heads."""
    importance: pl.DataFrame
    """Importance of hyperparameters, as `raybench run` estimated it at its end."""


@dataclass(frozen=True, slots=True)
class _SearchTrial:
    """A search trial with its objective on val."""

    record: TrialRecord
    protocol: ProtocolInfo
    objective: str
    value: float

    @property
    def pair(self) -> tuple[str, str]:
        """Backbone and task."""
        return self.record.pair.backbone, str(self.record.pair.task)

    @property
    def direction(self) -> str:
        return METRICS[self.objective].direction

    @property
    def preference(self) -> Preference:
        key = preference(self.record, METRICS[self.objective])
        if key is None:
            raise ValueError(f"trial {self.record.trial_id!r} has no objective")
        return key


def search_data(
    experiments: Sequence[tuple[StoragePath, str]],
    records: Sequence[TrialRecord],
    specs: Sequence[Mapping[str, Any]],
) -> SearchData:
    """Gather the frames from the ledger's records and the stored importances.

    Args:
        experiments: (storage, experiment) pairs.
        records: all trials of these experiments.
        specs: the stored specs: `search` names the objective, `max_epochs` and `spaces` determine the spaces.
    """
    objectives = {str(spec.get("name")): (spec.get("search") or {}).get("objective") for spec in specs}
    trials = [trial for record in records if (trial := _search_trial(record, objectives)) is not None]
    winners = _winners(trials)
    by_name = {spec.get("name"): spec for spec in specs}
    trial_rows = [(*trial.pair, trial.direction, trial.value, trial.record.index) for trial in trials]
    learning_rows = [row for trial in trials for row in _learning_rows(trial)]
    edge_rows = [
        row for trial in winners for row in _edge_rows(trial, by_name.get(trial.record.experiment, {}))
    ]
    packed_rows = [row for trial in winners for row in _packed_rows(trial)]
    return SearchData(
        trials=pl.DataFrame(trial_rows, schema=TRIALS, orient="row").unique(maintain_order=True),
        learning=pl.DataFrame(learning_rows, schema=LEARNING, orient="row").unique(maintain_order=True),
        winners=pl.DataFrame([trial.pair for trial in winners], schema=PAIR, orient="row"),
        edges=pl.DataFrame(edge_rows, schema=EDGES, orient="row"),
        packed=pl.DataFrame(packed_rows, schema=PACKED, orient="row"),
        importance=_importance(experiments),
    )


def _search_trial(record: TrialRecord, objectives: Mapping[str, str | None]) -> _SearchTrial | None:
    """The record of a search trial with its objective; None if it has none or is of another stage."""
    if record.stage != "search" or record.status not in ("completed", "stopped"):
        return None
    protocol = PROTOCOLS.get(record.pair.task.protocol)
    if protocol is None:
        return None
    objective = objectives.get(record.experiment) or protocol.objective
    value = record.value_of("val", objective)
    return None if value is None else _SearchTrial(record, protocol, objective, value)


def _winners(trials: Sequence[_SearchTrial]) -> list[_SearchTrial]:
    """Preferred trial per experiment and pair, sorted by experiment and pair."""
    best: dict[tuple[str, str, str], _SearchTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.preference, reverse=True):
        best.setdefault((trial.record.experiment, *trial.pair), trial)
    return [best[key] for key in sorted(best)]


def _learning_rows(trial: _SearchTrial) -> list[tuple[object, ...]]:
    metric, is_stopped = trial.objective, trial.record.status == "stopped"
    return [
        (*trial.pair, trial.direction, trial.record.index, is_stopped, point.epoch, point.metrics[metric])
        for point in trial.record.curve
        if metric in point.metrics
    ]


def _edge_rows(trial: _SearchTrial, spec: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    record, info = trial.record, trial.protocol
    max_epochs = spec.get("max_epochs", {}).get(info.name, info.max_epochs)
    changes = [SpaceChange.of(entry) for entry in spec.get("spaces", ())]
    applicable = [change for change in changes if change.applies_to(info.name, record.pair.backbone)]
    space = changed_space(info.space_within(max_epochs), info, applicable, max_epochs)
    grid = info.packed_grid(record.hparams, changed_grid(info, applicable))
    tried = {**record.hparams, **record.chosen}
    return [
        (*trial.pair, name, end, str(tried.get(name)), _next_line(name, end, space, grid, info.limits))
        for name, end in sorted({**edges(space, record.hparams), **record.edges}.items())
    ]


def _next_line(name: str, end: Any, space: SearchSpace, grid: Grid, limits: Limits) -> str:
    """The line of `spaces` that searches further; empty if nothing lies beyond."""
    wider = next_values(name, end, space, grid, limits)
    return "" if wider is None else json.dumps({name: wider})


def _packed_rows(trial: _SearchTrial) -> list[tuple[str, str, str, str, float]]:
    grid, objective = trial.record.grid, trial.objective
    if len(grid) < 2 or len({row.get("epoch") for row in grid}) > 1:
        return []  # Values of different epochs, where heads were dropped, have no common variance.
    grid = tuple({name: value for name, value in row.items() if name != "epoch"} for row in grid)
    try:
        shares = main_effects(grid, objective)
    except (EmptyInputError, KeyError, ValueError):
        return []  # Not a full grid: heads of an earlier version.
    name = " × ".join(key for key in grid[0] if key != objective)
    return [(*trial.pair, name, key, share) for key, share in (shares or {}).items()]


def _importance(experiments: Sequence[tuple[StoragePath, str]]) -> pl.DataFrame:
    rows = [
        {"experiment": experiment, **row}
        for storage, experiment in experiments
        for row in (ledger.load_importance(storage, experiment) or {}).get("rows", ())
    ]
    importances = [{name: row.get(name) for name in IMPORTANCE} for row in rows]
    return pl.DataFrame(importances, schema=IMPORTANCE).unique(maintain_order=True)
