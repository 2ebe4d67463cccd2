"""The protocol `retrieval`: images of a query's class are to stand first in the ranking of the gallery.

Queries are val while choosing and test in the end; the gallery is train, which both are disjoint from. With
`gallery` = `rest` it is the split itself, every image in turn asking for the others (leave-one-out).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from raybench.backbones.view import View
from raybench.catalog.retrieval import EARLIER_LAYERS, GEM_POWERS, POOLINGS
from raybench.evaluation.context import Rung, SplitReport, TrialContext
from raybench.evaluation.feature_norm import resident
from raybench.evaluation.retrieval.ground_truth import ClassTruth
from raybench.evaluation.retrieval.k_reciprocal import reranked_ranks
from raybench.evaluation.retrieval.reranking import expanded_queries
from raybench.evaluation.retrieval.search import ranks_of_positives
from raybench.evaluation.retrieval.whitening import normalised
from raybench.metrics.retrieval import RETRIEVAL_METRICS, retrieval_means, retrieval_values
from raybench.records import Hparams


def retrieval(
    context: TrialContext, hparams: Hparams, seed: int, max_epochs: int, fixed: Hparams | None = None
) -> RetrievalRun:
    """Prepare a search.

    Hyperparameters: `layer`, `pooling` and `gem_power` (see `View`), `normalisation` (none, l2, pca_whiten),
    `distance` (dot, cosine, euclidean), `query_expansion` (neighbours, 0 is none), `expansion_power`,
    `rerank_neighbours` (k1 of k-reciprocal re-ranking, 0 is none), and `gallery` (train, rest). Nothing here
    is random and there is one epoch, so `seed` and `max_epochs` change nothing.
    """
    return RetrievalRun(context, {**hparams, **(fixed or {})})


class RetrievalRun:
    """One way of searching; nothing is trained but the whitening."""

    def __init__(self, context: TrialContext, hparams: Hparams) -> None:
        self._context = context
        self._hparams = hparams

    def rungs(self) -> Iterator[Rung]:
        """A single rung."""
        yield Rung(epoch=1, metrics=self.report("val").metrics, chosen={"epoch": 1})

    def report(self, split: Literal["val", "test"]) -> SplitReport:
        """Search with every image of `split`.

        `num_examples` counts the queries that have positives; `per_query` holds NaN for the others.

        Raises:
            SplitLockedError: if `split` is test while the dataset is locked.
            EmptyInputError: if no query has a positive.
        """
        hparams, distance = self._hparams, str(self._hparams.get("distance", "dot"))
        asked, train = self._features(split), self._features("train")
        is_rest = hparams.get("gallery", "train") == "rest"
        kept = asked if is_rest else train
        own = np.arange(len(asked.targets)) if is_rest else None
        device = self._context.device
        parts = [resident(part.features, device) for part in ([asked] if is_rest else [asked, kept])]
        changed = normalised(
            hparams.get("normalisation", "l2"),  # type: ignore[arg-type]
            resident(train.features, device),
            *parts,
        )
        queries, gallery = changed[0], changed[-1]
        queries = expanded_queries(
            queries,
            gallery,
            int(hparams.get("query_expansion", 0)),
            float(hparams.get("expansion_power", 3.0)),
            distance=distance,  # type: ignore[arg-type]
            own=None if own is None else torch.from_numpy(own).to(device),
        )
        truth = ClassTruth(asked.targets, kept.targets, own)
        k1 = int(hparams.get("rerank_neighbours", 0))
        found = (
            reranked_ranks(queries, gallery, truth, k1, own=own)
            if k1
            else ranks_of_positives(queries, gallery, truth, distance=distance)  # type: ignore[arg-type]
        )
        rows = [retrieval_values(ranks) for ranks in found]
        per_query = {name: np.array([row[name] for row in rows]) for name in RETRIEVAL_METRICS}
        means = retrieval_means(per_query)
        num_measured = len(rows) - int(means["queries_without_positives"])
        return SplitReport(metrics=means, num_examples=num_measured, per_query=per_query)

    def _features(self, split: Literal["train", "val", "test"]) -> Any:
        context = self._context
        view = _view(self._hparams)
        return context.store.get(
            context.backbone_info,
            context.dataset,
            split,
            device=context.device,
            view=view,
            beside=_beside(view),
        )


def _view(hparams: Hparams) -> View:
    return View(
        int(hparams.get("layer", 0)),
        hparams.get("pooling", "pooled"),  # type: ignore[arg-type]
        float(hparams.get("gem_power", 3.0)),
    )


def _beside(view: View) -> list[View]:
    """What other trials of a search may ask for, from the passes that `view` needs anyway; nothing for the
    backbone's own feature, which all protocols share."""
    if view.is_own:
        return []
    layers = EARLIER_LAYERS if view.layer else (0,)
    views = [
        View(layer, pooling, power)  # type: ignore[arg-type]
        for layer in layers
        for pooling in POOLINGS
        for power in (GEM_POWERS if pooling == "gem" else (3.0,))
    ]
    return [other for other in views if not other.is_own]
