"""How the searches went, from the ledger: learning curves, winners on an edge, packed grids, importances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from raybench.analysis.early_stopping import LEARNING
from raybench.analysis.packed_effects import main_effects
from raybench.catalog.search_spaces import edges
from raybench.catalog.tasks import PROTOCOLS, protocol_of
from raybench.core.errors import EmptyInputError
from raybench.core.records import TrialRecord
from raybench.metrics import METRICS
from raybench.store import ledger
from raybench.store.files import StoragePath

EDGES = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "hyperparameter": pl.String,
        "end": pl.String,
        "value": pl.String,
    }
)
PACKED = pl.Schema(
    {
        "backbone": pl.String,
        "task": pl.String,
        "grid": pl.String,
        "hyperparameter": pl.String,
        "share": pl.Float64,
    }
)
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
class SearchEvidence:
    """Frames of the search; all empty where there was none."""

    learning: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LEARNING))
    """Search trials epoch by epoch."""
    winners: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"backbone": pl.String, "task": pl.String})
    )
    """Pairs whose search found a best trial."""
    edges: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=EDGES))
    """Hyperparameters of best trials that lie on the end of their space or packed grid."""
    packed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PACKED))
    """Per best trial and dimension of its packed grid: share of the variance over its heads."""
    importance: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=IMPORTANCE))
    """What `raybench run` found at its end."""


def search_evidence(
    places: Sequence[tuple[StoragePath, str]],
    records: Sequence[TrialRecord],
    specs: Sequence[Mapping[str, Any]],
) -> SearchEvidence:
    """Gather it from the ledger's records and the findings kept beside the specs.

    Args:
        places: (storage, experiment) pairs.
        records: all trials of all places.
        specs: the stored specs, whose `max_epochs` say how far a space's epochs reach.
    """
    scored = [r for r in records if _objective(r) is not None]
    max_epochs = {(s.get("name"), p): e for s in specs for p, e in s.get("max_epochs", {}).items()}
    winners = _winners(scored)
    pairs = [(record.pair.backbone, str(record.pair.task)) for record in winners]
    on_edge = [row for record in winners for row in _edge_rows(record, max_epochs)]
    return SearchEvidence(
        learning=pl.DataFrame(_learning_rows(scored), schema=LEARNING, orient="row").unique(
            maintain_order=True
        ),
        winners=pl.DataFrame(pairs, schema={"backbone": pl.String, "task": pl.String}, orient="row"),
        edges=pl.DataFrame(on_edge, schema=EDGES, orient="row"),
        packed=pl.DataFrame(_packed_rows(winners), schema=PACKED, orient="row"),
        importance=_importance(places),
    )


def _objective(record: TrialRecord) -> float | None:
    """The trial's objective on val, higher is better; None where it has none or is no search trial."""
    if record.stage != "search" or record.status not in ("completed", "stopped"):
        return None
    if record.pair.task.protocol not in PROTOCOLS:
        return None
    metric = protocol_of(record.pair.task).objective
    value = record.value_of("val", metric)
    return None if value is None else value if METRICS[metric].direction == "max" else -value


def _winners(scored: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Best trial per experiment and pair, the earliest of equals; sorted."""
    best: dict[tuple[str, str, str], tuple[float, int, TrialRecord]] = {}
    for record in scored:
        key = (record.experiment, record.pair.backbone, str(record.pair.task))
        entry = (_objective(record) or 0.0, -record.index, record)
        if key not in best or entry[:2] > best[key][:2]:
            best[key] = entry
    return [best[key][2] for key in sorted(best)]


def _learning_rows(scored: Sequence[TrialRecord]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for record in scored:
        metric = protocol_of(record.pair.task).objective
        head = (
            record.pair.backbone,
            str(record.pair.task),
            METRICS[metric].direction,
            record.index,
            record.status == "stopped",
        )
        rows += [
            (*head, point.epoch, float(point.metrics[metric]))
            for point in record.curve
            if metric in point.metrics
        ]
    return rows


def _edge_rows(record: TrialRecord, max_epochs: dict[tuple[Any, str], int]) -> list[tuple[str, ...]]:
    protocol = PROTOCOLS[record.pair.task.protocol]
    limit = max_epochs.get((record.experiment, protocol.name), protocol.max_epochs)
    touched: dict[str, str] = dict(edges(protocol.space_within(limit), record.hparams)) | dict(record.edges)
    tried = {**record.hparams, **record.chosen}
    return [
        (record.pair.backbone, str(record.pair.task), name, end, f"{tried.get(name)}")
        for name, end in sorted(touched.items())
    ]


def _packed_rows(winners: Sequence[TrialRecord]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for record in winners:
        if len(record.grid) < 2:
            continue
        objective = protocol_of(record.pair.task).objective
        try:
            shares = main_effects(record.grid, objective)
        except (EmptyInputError, KeyError, ValueError):
            continue  # Not a full grid: heads of an earlier version.
        name = " × ".join(key for key in record.grid[0] if key != objective)
        rows += [
            (record.pair.backbone, str(record.pair.task), name, key, share)
            for key, share in (shares or {}).items()
        ]
    return rows


def _importance(places: Sequence[tuple[StoragePath, str]]) -> pl.DataFrame:
    rows = []
    for storage, experiment in places:
        found = ledger.load_importance(storage, experiment) or {}
        rows += [{"experiment": experiment, **row} for row in found.get("rows", ())]
    kept = [{name: row.get(name) for name in IMPORTANCE} for row in rows]
    return pl.DataFrame(kept, schema=IMPORTANCE).unique(maintain_order=True)
