"""Retrieval metrics: how early a query's positives appear in the ranking of the gallery.

All are functions of the ranks of positives (from 0), after junk images are removed from the ranking.
A query without positives has no value (NaN) in any of them; `queries_without_positives` counts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raybench.core.errors import EmptyInputError
from raybench.metrics.registry import declare
from raybench.metrics.resampling import NotResampled, PerExampleMean

if TYPE_CHECKING:
    from numpy.typing import NDArray

CUTOFFS = (1, 5, 10, 100)
QUERIES_WITHOUT_POSITIVES = "queries_without_positives"


def _declare_per_query(name: str, doc: str) -> None:
    """Register a fraction with one value per query; the protocol stores the values."""
    declare(name, direction="max", bounds=(0.0, 1.0), resampling=PerExampleMean, doc=doc)


_declare_per_query(
    "map", "Mean over queries of the average precision: the mean of the precision at each positive."
)
_declare_per_query(
    "map_trapezoid", "Mean average precision by the trapezoid rule, as revisitop (Oxford, Paris) computes it."
)
_declare_per_query("mrr", "Mean of 1 / rank of the first positive, counted from 1.")
_declare_per_query(
    "r_precision", "Share of positives among the first R results, R being the query's number of positives."
)
for _k in CUTOFFS:
    _declare_per_query(
        f"recall_at_{_k}", f"Share of a query's positives that are among the first {_k} results."
    )
    _declare_per_query(f"precision_at_{_k}", f"Share of positives among the first {_k} results.")
    _declare_per_query(
        f"hit_at_{_k}",
        f"Share of queries with a positive among the first {_k} results; metric learning's recall@{_k}.",
    )
declare(
    QUERIES_WITHOUT_POSITIVES,
    direction="min",
    bounds=(0.0, float("inf")),
    resampling=NotResampled("it counts images of the dataset"),
    doc="Number of queries without a positive in the gallery; the other metrics exclude them.",
)

RETRIEVAL_METRICS = (
    "map",
    "map_trapezoid",
    "mrr",
    "r_precision",
    *(f"{kind}_at_{k}" for kind in ("recall", "precision", "hit") for k in CUTOFFS),
)
"""Metrics with one value per query, in the order of tables."""


def average_precision(ranks: NDArray[Any]) -> float:
    """Mean of the precision at each positive's rank.

    Args:
        ranks: of the positives, from 0, ascending, shape [p], p ≥ 1.

    Returns:
        A fraction in [0, 1]: 1 if all positives come first.

    Source: torchmetrics `retrieval_average_precision`.

    >>> import numpy as np
    >>> average_precision(np.array([0, 3]))
    0.75
    """
    import numpy as np

    return float(((1.0 + np.arange(len(ranks))) / (1.0 + ranks)).mean())


def trapezoid_average_precision(ranks: NDArray[Any]) -> float:
    """Area under the precision-recall curve by the trapezoid rule.

    Each positive contributes the mean of the precisions just before and at its rank; before the first rank
    the precision is 1. Never above `average_precision`, and equal to it if all positives come first.

    Args:
        ranks: of the positives, from 0, ascending, shape [p], p ≥ 1.

    Returns:
        A fraction in [0, 1].

    Source: Radenović et al., "Revisiting Oxford and Paris", CVPR 2018, `evaluate.py: compute_ap`.

    >>> import numpy as np
    >>> round(trapezoid_average_precision(np.array([0, 3])), 6)
    0.708333
    """
    import numpy as np

    num_found = np.arange(len(ranks), dtype=np.float64)
    before = np.where(ranks == 0, 1.0, num_found / np.maximum(ranks, 1))
    return float(((before + (num_found + 1.0) / (ranks + 1.0)) / 2.0).mean())


def retrieval_values(ranks: NDArray[Any]) -> dict[str, float]:
    """Compute all `RETRIEVAL_METRICS` for one query, by name; all NaN if it has no positives.

    Args:
        ranks: ranks of the positives from 0 after junk is removed, in any order, shape [p].

    Source: torchmetrics `functional.retrieval` (precision divides by k even where the gallery is smaller).

    >>> import numpy as np
    >>> values = retrieval_values(np.array([1, 2]))
    >>> values["mrr"], values["r_precision"], values["recall_at_1"], values["precision_at_5"]
    (0.5, 0.5, 0.0, 0.4)
    """
    import numpy as np

    if len(ranks) == 0:
        return dict.fromkeys(RETRIEVAL_METRICS, float("nan"))
    ranks = np.sort(ranks)
    values = {
        "map": average_precision(ranks),
        "map_trapezoid": trapezoid_average_precision(ranks),
        "mrr": 1.0 / (1.0 + float(ranks[0])),
        "r_precision": float((ranks < len(ranks)).mean()),
    }
    for k in CUTOFFS:
        hits = int((ranks < k).sum())
        values[f"recall_at_{k}"] = hits / len(ranks)
        values[f"precision_at_{k}"] = hits / k
        values[f"hit_at_{k}"] = float(hits > 0)
    return {name: values[name] for name in RETRIEVAL_METRICS}


def retrieval_means(per_query: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Average each metric over the queries that have positives, and count the queries that have none.

    Raises:
        EmptyInputError: if no query has a positive.

    >>> import numpy as np
    >>> retrieval_means({"mrr": np.array([1.0, 0.5, np.nan])})
    {'mrr': 0.75, 'queries_without_positives': 1.0}
    """
    import numpy as np

    first = next(iter(per_query.values()))
    has_positives = ~np.isnan(first)
    if not has_positives.any():
        raise EmptyInputError(
            f"none of {len(first)} queries has a positive in the gallery; retrieval measures nothing here."
        )
    means = {name: float(values[has_positives].mean()) for name, values in per_query.items()}
    return {**means, QUERIES_WITHOUT_POSITIVES: float((~has_positives).sum())}
