"""The protocol `retrieval`: rank a gallery for each query, positives first.

Queries are those of val during search and of test in the final stage. The dataset decides what
they search and which images are positives (`Dataset.gallery`): train and the query's class, unless its row
has `queries`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int

from raybench.catalog.space_edges import packed_edges
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Hparams
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.exact_search import Distance, RoundedSimilarity
from raybench.evaluation.outcomes import EpochResult, SplitReport
from raybench.evaluation.packed_grid import Cell, PackedGrid
from raybench.evaluation.retrieval.k_reciprocal import reranked_ranks
from raybench.evaluation.retrieval.query_expansion import expanded_queries
from raybench.evaluation.retrieval.query_gallery import QueryGallery
from raybench.evaluation.retrieval.ranks import ranks_of_positives
from raybench.evaluation.retrieval.whitening import Normalisation, Whitening, normalised
from raybench.metrics.retrieval import (
    QUERIES_WITHOUT_POSITIVES,
    RETRIEVAL_METRICS,
    retrieval_means,
    retrieval_values,
)

DIRECTIONS, ALL = "whitening_directions", "all"


def retrieval(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> RetrievalRun:
    """Prepare a retrieval run.

    Hyperparameters: `layer`, `pooling` and `gem_power` (see `FeatureSpec`), `normalisation` (none, l2,
    pca_whiten), `distance` (dot, cosine, euclidean), `query_expansion` (neighbours, 0 is none),
    `expansion_power`, `rerank_neighbours` (k1 of k-reciprocal re-ranking, 0 is none), `scales` (single,
    multi), and for pca_whiten `whitening_directions` (those of largest variance; a search trial chooses their
    number on val, the final stage takes all unless a number is given). Nothing is random and there is one
    epoch, so `seed` and `max_epochs` change nothing.
    """
    return RetrievalRun(context, hparams)


class RetrievalRun:
    """One way of searching; nothing is trained but the whitening."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        self._context = context
        self._hparams = hparams
        info = PROTOCOLS["retrieval"]
        self._objective = context.objective if context.objective in info.metrics else info.objective
        self._grid = info.packed_grid(hparams, context.packed)
        self._whitening: Whitening | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """Give a single result: val's metrics, or none where the dataset leaves val no queries."""
        dataset, grid = self._context.dataset, PackedGrid(self._grid, self._hparams)
        if dataset.num_examples("val") == 0:
            yield EpochResult(epoch=1, metrics={}, chosen={"epoch": 1})
        elif grid.is_searched and not dataset.is_unlocked:
            yield self._best_of(self._cells(grid))
        else:
            yield EpochResult(epoch=1, metrics=self.report("val").metrics, chosen={"epoch": 1})

    def _cells(self, grid: PackedGrid) -> tuple[Cell, ...]:
        """Numbers of directions, no more than the training images span."""
        spanned = self._fitted_whitening(QueryGallery(self._context, self._hparams, "val")).num_directions
        return grid.cells(limits={DIRECTIONS: spanned}) or ({DIRECTIONS: ALL},)

    def _best_of(self, cells: tuple[Cell, ...]) -> EpochResult:
        """Measure every cell on val and keep the best; of equal ones the earliest, with fewest directions."""
        given, metrics = self._hparams, []
        for cell in cells:
            self._hparams = {**given, **cell}
            metrics.append(self.report("val").metrics)
        values = [one[self._objective] for one in metrics]
        best = values.index(max(values))  # Higher is better by every possible objective.
        self._hparams = {**given, **cells[best]}
        chosen = {**cells[best], "epoch": 1}
        return EpochResult(
            epoch=1,
            metrics=metrics[best],
            chosen=chosen,
            grid=tuple({**c, self._objective: v} for c, v in zip(cells, values, strict=True)),
            edges=packed_edges(self._grid, chosen),
        )

    def _fitted_whitening(self, data: QueryGallery) -> Whitening:
        """All directions; fitted once, to train."""
        if self._whitening is None:
            self._whitening = Whitening.fit(data.train)
        return self._whitening

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Metrics over the queries of `split`.

        `num_examples` counts the queries that have positives; `per_query` holds NaN for the others.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
            EmptyInputError: if no query has a positive.
        """
        values = [retrieval_values(ranks) for ranks in self._ranks(split)]
        per_query = {name: np.array([row[name] for row in values]) for name in RETRIEVAL_METRICS}
        means = retrieval_means(per_query)
        num_measured = len(values) - int(means[QUERIES_WITHOUT_POSITIVES])
        return SplitReport(metrics=means, num_examples=num_measured, per_query=per_query)

    def _ranks(self, split: Literal["val", "test"]) -> Iterator[Int[np.ndarray, " p"]]:
        """Ranks of each query's positives, after normalisation, query expansion and re-ranking."""
        hparams = self._hparams
        data = QueryGallery(self._context, hparams, split)
        # With leave-one-out the gallery is the queries: normalise them once.
        parts = [data.queries] if data.self_indices is not None else [data.queries, data.gallery()]
        kind: Normalisation = hparams.get("normalisation", "l2")  # type: ignore[assignment]
        whitening = None
        if kind == "pca_whiten":
            whitening = self._fitted_whitening(data)
            if (num_directions := hparams.get(DIRECTIONS, ALL)) != ALL:
                whitening = whitening.leading(int(num_directions))
        parts = list(normalised(kind, data.train, *parts, whitening=whitening))
        queries, gallery = parts[0], parts[-1]
        distance: Distance = hparams.get("distance", "dot")  # type: ignore[assignment]
        queries = expanded_queries(
            queries,
            gallery,
            int(hparams.get("query_expansion", 0)),
            float(hparams.get("expansion_power", 3.0)),
            distance=distance,
            self_indices=data.self_indices,
        )
        if k1 := int(hparams.get("rerank_neighbours", 0)):
            return reranked_ranks(queries, gallery, data.truth, k1, self_indices=data.self_indices)
        return ranks_of_positives(queries, gallery, data.truth, RoundedSimilarity(distance))
