"""Rows that `raybench list KIND` prints, as plain values. Torch-free."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import BACKBONES, group_names
from raybench.catalog.budgets import BUDGETS
from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.datasets import DATASETS
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.info import EvaluatorInfo
from raybench.catalog.search_spaces import Choice, Dimension
from raybench.catalog.tasks import PROTOCOLS, ProtocolInfo
from raybench.core.errors import PluginError, UnknownNameError
from raybench.core.records import Task
from raybench.core.registry import Registry, suggest
from raybench.metrics import METRICS, Metric

Cell = str | int | float | None
Row = dict[str, Cell]
T = TypeVar("T")


def _listed(registry: Registry[T], columns: Callable[[T], Row]) -> list[Row]:
    """Name, origin and `columns` of every row."""
    return [{"name": name, "origin": registry.origin(name), **columns(row)} for name, row in registry.items()]


def _backbone(info: BackboneInfo) -> Row:
    return {
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


def _dataset(info: DatasetInfo) -> Row:
    return {
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


def _protocol(info: ProtocolInfo) -> Row:
    return {
        "objective": info.objective,
        "metrics": " ".join(info.metrics),
        "max_epochs": info.max_epochs,
        "cpus": info.cpus,
        "gpus": info.gpus,
        "presets": " ".join(info.presets),
        "doc": info.doc,
    }


def _evaluator(info: EvaluatorInfo) -> Row:
    return {
        "needs": info.needs,
        "headline": info.headline,
        "presets": " ".join(info.presets),
        "metrics": " ".join(info.metrics),
        "doc": info.doc,
    }


def _metric(metric: Metric) -> Row:
    low, high = metric.bounds
    return {"direction": metric.direction, "low": low, "high": high, "doc": metric.doc}


def _groups() -> list[Row]:
    members = {
        name: [row for row, info in BACKBONES.items() if name in info.groups] for name in group_names()
    }
    return [
        {"name": "@" + name, "num_backbones": len(rows), "backbones": " ".join(rows)}
        for name, rows in members.items()
    ]


def _tasks() -> list[Row]:
    """Every protocol on every dataset of the catalogue that it can use; folders and the hub add more."""
    return [
        {"name": str(Task(protocol, dataset)), "protocol": protocol, "dataset": dataset}
        for dataset, info in DATASETS.items()
        for protocol, protocol_info in PROTOCOLS.items()
        if info.annotation in protocol_info.annotations
        and (protocol == "retrieval" or info.queries is None or not info.queries.divides)
    ]


def _spaces() -> list[Row]:
    """Protocol by protocol, dimensions searched by Tune, then packed ones."""
    return [row for info in PROTOCOLS.values() for row in (*_searched(info), *_packed(info))]


def _searched(info: ProtocolInfo) -> list[Row]:
    return [
        {
            "protocol": info.name,
            "name": name,
            "values": _values(dimension),
            "default": str(dimension.default),
            "searched": "by Tune"
            + "".join(f"; on request {value}" for value in info.on_request.get(name, ())),
        }
        for name, dimension in info.space.items()
    ]


def _packed(info: ProtocolInfo) -> list[Row]:
    """Packed hyperparameters with their values and the solvers that use them."""
    solvers: dict[tuple[str, str], list[str]] = {}
    for solver, grid in info.packed.items():
        for name, values in grid.items():
            solvers.setdefault((name, " ".join(map(str, values))), []).extend([solver] if solver else [])
    return [
        {
            "protocol": info.name,
            "name": name,
            "values": values,
            "default": None,
            "searched": "in one trial" + (f" ({', '.join(names)})" if names else ""),
        }
        for (name, values), names in solvers.items()
    ]


def _budgets() -> list[Row]:
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


LISTINGS: Mapping[str, Callable[[], list[Row]]] = {
    "backbones": lambda: _listed(BACKBONES, _backbone),
    "groups": _groups,
    "datasets": lambda: _listed(DATASETS, _dataset),
    "protocols": lambda: _listed(PROTOCOLS, _protocol),
    "tasks": _tasks,
    "spaces": _spaces,
    "budgets": _budgets,
    "evaluators": lambda: _listed(EVALUATORS, _evaluator),
    "metrics": lambda: _listed(METRICS, _metric),
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


def load_plugins() -> list[PluginError]:
    """Load all plug-ins and return what failed."""
    registries: tuple[Registry[Any], ...] = (BACKBONES, DATASETS, PROTOCOLS, EVALUATORS, METRICS)
    return [failure for registry in registries for failure in registry.load_plugins()]


def _queries(info: DatasetInfo) -> str:
    """How queries and gallery are divided, in a few words; empty where the gallery is train."""
    queries = info.queries
    if queries is None:
        return ""
    if queries.kind == "first":
        most = f" of at most {queries.max_per_class}" if queries.max_per_class else ""
        words = [f"first {queries.fraction:g}{most} per class"]
    else:
        is_graded = queries.kind == "listed" and queries.layout == "json"
        words = [queries.kind, queries.difficulty if is_graded else "", "cut" if queries.crop else ""]
    noise = "distractors" if queries.distractors else ""
    return ", ".join(word for word in [*words, noise, f"same {queries.shares}"] if word)


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return " ".join(map(str, dimension.options))
    return f"{dimension.low:g} to {dimension.high:g}" + (" (log)" if dimension.log else "")
