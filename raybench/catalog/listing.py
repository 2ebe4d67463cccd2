"""What `raybench list KIND` prints: the tables as rows of plain values. Torch-free."""

from collections.abc import Callable, Mapping

from raybench.catalog.backbones import BACKBONES, group_names
from raybench.catalog.budgets import BUDGETS
from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.datasets import DATASETS
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.search_spaces import PACKED, Choice, Dimension
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest

Cell = str | int | float | None
Row = dict[str, Cell]


def backbones() -> list[Row]:
    return [
        {
            "name": info.name,
            "family": info.family,
            "method": info.method,
            "pretrain_data": info.pretrain_data,
            "pretrain_images": info.pretrain_images,
            "input_size": info.input_size,
            "params_m": info.params_m,
            "licence": info.licence,
            "groups": " ".join("@" + group for group in info.groups),
            "citation": info.citation,
        }
        for info in BACKBONES.values()
    ]


def groups() -> list[Row]:
    members = {
        name: [row for row, info in BACKBONES.items() if name in info.groups] for name in group_names()
    }
    return [
        {"name": "@" + name, "num_backbones": len(rows), "backbones": " ".join(rows)}
        for name, rows in members.items()
    ]


def datasets() -> list[Row]:
    return [
        {
            "name": info.name,
            "source": f"{info.source.kind}:{info.source.location}",
            "annotation": info.annotation,
            "num_classes": info.num_classes,
            "num_images": info.num_images,
            "splits": " ".join(info.splits),
            "examples_per_class": info.examples_per_class,
            "queries": _queries(info),
            "licence": info.licence,
            "citation": info.citation,
            "by_hand": "yes" if info.steps else "",
        }
        for info in DATASETS.values()
    ]


def protocols() -> list[Row]:
    return [
        {
            "name": info.name,
            "objective": info.objective,
            "metrics": " ".join(info.metrics),
            "max_epochs": info.max_epochs,
            "cpus": info.cpus,
            "gpus": info.gpus,
            "presets": " ".join(info.presets),
            "doc": info.doc,
        }
        for info in PROTOCOLS.values()
    ]


def tasks() -> list[Row]:
    """Every protocol on every dataset of the catalogue that it can use; folders and the hub make more."""
    return [
        {"name": f"{protocol}@{dataset}", "protocol": protocol, "dataset": dataset}
        for dataset, info in DATASETS.items()
        for protocol, protocol_info in PROTOCOLS.items()
        if info.annotation in protocol_info.annotations
        and (protocol == "retrieval" or info.queries is None or not info.queries.divides)
    ]


def spaces() -> list[Row]:
    """Searched dimensions first, then the packed ones, protocol by protocol."""
    rows: list[Row] = []
    for protocol, info in PROTOCOLS.items():
        for name, dimension in info.space.items():
            rows.append(
                {
                    "protocol": protocol,
                    "name": name,
                    "values": _values(dimension),
                    "default": str(dimension.default),
                    "searched": "by Tune",
                }
            )
        for key, grid in PACKED.items():
            owner, _, solver = key.partition(":")
            if owner != protocol:
                continue
            where = "in one trial" + (f" ({solver})" if solver else "")
            rows += [
                {
                    "protocol": protocol,
                    "name": name,
                    "values": " ".join(map(str, values)),
                    "default": None,
                    "searched": where,
                }
                for name, values in grid.items()
            ]
    return rows


def budgets() -> list[Row]:
    return [
        {
            "name": budget.name,
            "num_trials": budget.num_trials,
            "max_epochs": budget.max_epochs,
            "wall_seconds": budget.wall_seconds,
            "seeds": budget.seeds,
        }
        for budget in BUDGETS.values()
    ]


def evaluators() -> list[Row]:
    return [
        {
            "name": info.name,
            "needs": info.needs,
            "headline": info.headline,
            "presets": " ".join(info.presets),
            "metrics": " ".join(info.metrics),
            "doc": info.doc,
        }
        for info in EVALUATORS.values()
    ]


def metrics() -> list[Row]:
    from raybench.metrics import METRICS  # Deferred: the tables above need no metric.

    return [
        {
            "name": metric.name,
            "direction": metric.direction,
            "low": metric.bounds[0],
            "high": metric.bounds[1],
            "doc": metric.doc,
        }
        for metric in METRICS.values()
    ]


LISTINGS: Mapping[str, Callable[[], list[Row]]] = {
    "backbones": backbones,
    "groups": groups,
    "datasets": datasets,
    "protocols": protocols,
    "tasks": tasks,
    "spaces": spaces,
    "budgets": budgets,
    "evaluators": evaluators,
    "metrics": metrics,
}
"""Kind → its rows, in the order of their tables."""


def listing(kind: str) -> list[Row]:
    """Rows of one kind.

    Raises:
        UnknownNameError: if there is no such kind.

    >>> [row["name"] for row in listing("budgets")]
    ['smoke', 'quick', 'standard', 'thorough']
    """
    if kind not in LISTINGS:
        hint = suggest(kind, LISTINGS) or "."
        raise UnknownNameError(f"nothing to list called {kind!r}{hint} Kinds: {', '.join(LISTINGS)}.")
    return LISTINGS[kind]()


def _queries(info: DatasetInfo) -> str:
    """How queries and gallery are divided, in a few words; empty where the gallery is train."""
    queries = info.queries
    if queries is None:
        return ""
    if queries.kind == "first":
        most = f" of at most {queries.max_per_class}" if queries.max_per_class else ""
        said = [f"first {queries.fraction:g}{most} per class"]
    else:
        is_graded = queries.kind == "listed" and queries.layout == "json"
        said = [queries.kind, queries.difficulty if is_graded else "", "cut" if queries.crop else ""]
    noise = "distractors" if queries.distractors else ""
    return ", ".join(word for word in [*said, noise, f"same {queries.shares}"] if word)


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return " ".join(map(str, dimension.options))
    return f"{dimension.low:g} to {dimension.high:g}" + (" (log)" if dimension.log else "")
