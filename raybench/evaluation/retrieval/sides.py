"""The two sides of a search as descriptors: queries, what the dataset lets them search in, and the truth."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.backbones.view import View
from raybench.catalog.retrieval import EARLIER_LAYERS, GEM_POWERS, POOLINGS
from raybench.data.dataset import Dataset
from raybench.data.ground_truth import ClassTruth, GroundTruth
from raybench.evaluation.context import TrialContext
from raybench.evaluation.feature_norm import resident
from raybench.features.store import FeatureSet
from raybench.records import Hparams, Split

Rows = Float[torch.Tensor, "n d"]


class Sides:
    """What one split's queries are, and what they are searched in, described as `hparams` say.

    Raises:
        SplitLockedError: if `split` is test while the dataset is locked.
    """

    def __init__(self, context: TrialContext, hparams: Hparams, split: Split) -> None:
        self._context = context
        self._hparams = hparams
        self._gallery = context.dataset.gallery(split)
        self._described: dict[tuple[bool, Split], tuple[Rows, Int[np.ndarray, " n"]]] = {}
        self.queries: Rows = self._of(split)[0]
        self.own = np.arange(len(self.queries)) if self._gallery.is_rest else None
        """Each query's own place in the gallery, where the gallery is the split itself."""
        self._query_targets = self._of(split)[1]

    @property
    def train(self) -> Rows:
        """What may be learnt from: whitening."""
        return self._of("train")[0]

    def gallery(self) -> Rows:
        """All that is searched: a copy where it has several parts."""
        parts = [self._of(split)[0] for split in self._gallery.splits]
        if self._context.dataset.distractors is not None:
            parts.append(self._of("train", of_distractors=True)[0])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @property
    def truth(self) -> GroundTruth:
        """Positives and junk of every query."""
        if self._gallery.truth is not None:
            return self._gallery.truth
        targets = [self._of(split)[1] for split in self._gallery.splits]
        return ClassTruth(self._query_targets, np.concatenate(targets), self.own)

    def _of(self, split: Split, *, of_distractors: bool = False) -> tuple[Rows, Int[np.ndarray, " n"]]:
        key = (of_distractors, split)
        if key not in self._described:
            dataset = self._context.dataset
            stored = self._stored(dataset.distractors or dataset if of_distractors else dataset, split)
            self._described[key] = resident(stored.features, self._context.device), stored.targets
        return self._described[key]

    def _stored(self, dataset: Dataset, split: Split) -> FeatureSet:
        context, view = self._context, _view(self._hparams)
        return context.store.get(
            context.backbone_info, dataset, split, device=context.device, view=view, beside=_beside(view)
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
