"""The protocol `retrieval`: a query's positives are to stand first in the ranking of its gallery.

Queries are val while choosing and test in the end. What they search in and who counts as found is the
dataset's to say (`Dataset.gallery`): train by class, unless its row has `queries`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from raybench.core.records import Hparams
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.outcomes import EpochResult, SplitReport
from raybench.evaluation.retrieval.k_reciprocal import reranked_ranks
from raybench.evaluation.retrieval.query_gallery import QueryGallery
from raybench.evaluation.retrieval.reranking import expanded_queries
from raybench.evaluation.retrieval.search import ranks_of_positives
from raybench.evaluation.retrieval.whitening import normalised
from raybench.metrics.retrieval import RETRIEVAL_METRICS, retrieval_means, retrieval_values


def retrieval(
    context: TrialContext, hparams: Hparams, seed: int, max_epochs: int, fixed: Hparams | None = None
) -> RetrievalRun:
    """Prepare a search.

    Hyperparameters: `layer`, `pooling` and `gem_power` (see `FeatureSpec`), `normalisation` (none, l2,
    pca_whiten),
    `distance` (dot, cosine, euclidean), `query_expansion` (neighbours, 0 is none), `expansion_power`,
    `rerank_neighbours` (k1 of k-reciprocal re-ranking, 0 is none) and `scales` (single, multi). Nothing here
    is random and there is one epoch, so `seed` and `max_epochs` change nothing.
    """
    return RetrievalRun(context, {**hparams, **(fixed or {})})


class RetrievalRun:
    """One way of searching; nothing is trained but the whitening."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        self._context = context
        self._hparams = hparams

    def run_epochs(self) -> Iterator[EpochResult]:
        """A single rung; without a metric where the dataset leaves val no queries: nothing is chosen then."""
        has_val = self._context.dataset.num_examples("val") > 0
        yield EpochResult(epoch=1, metrics=self.report("val").metrics if has_val else {}, chosen={"epoch": 1})

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Search with every query of `split` in the gallery that the dataset gives it.

        `num_examples` counts the queries that have positives; `per_query` holds NaN for the others.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
            EmptyInputError: if no query has a positive.
        """
        hparams, distance = self._hparams, str(self._hparams.get("distance", "dot"))
        sides = QueryGallery(self._context, hparams, split)
        # A gallery that is the split itself is not changed twice.
        parts = [sides.queries] if sides.own is not None else [sides.queries, sides.gallery()]
        changed = normalised(
            hparams.get("normalisation", "l2"),  # type: ignore[arg-type]
            sides.train,
            *parts,
        )
        own = sides.own
        queries, gallery = changed[0], changed[-1]
        queries = expanded_queries(
            queries,
            gallery,
            int(hparams.get("query_expansion", 0)),
            float(hparams.get("expansion_power", 3.0)),
            distance=distance,  # type: ignore[arg-type]
            own=None if own is None else torch.from_numpy(own).to(queries.device),
        )
        k1 = int(hparams.get("rerank_neighbours", 0))
        found = (
            reranked_ranks(queries, gallery, sides.truth, k1, own=own)
            if k1
            else ranks_of_positives(queries, gallery, sides.truth, distance=distance)  # type: ignore[arg-type]
        )
        rows = [retrieval_values(ranks) for ranks in found]
        per_query = {name: np.array([row[name] for row in rows]) for name in RETRIEVAL_METRICS}
        means = retrieval_means(per_query)
        num_measured = len(rows) - int(means["queries_without_positives"])
        return SplitReport(metrics=means, num_examples=num_measured, per_query=per_query)
