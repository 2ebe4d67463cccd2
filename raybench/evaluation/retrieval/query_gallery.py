"""Query and gallery embeddings of one split, with their ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.retrieval import EARLIER_LAYERS, GEM_POWERS, POOLINGS, SCALES
from raybench.core.records import Hparams, Split
from raybench.data.dataset import Dataset
from raybench.data.ground_truth import ClassTruth, GroundTruth
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.feature_norm import resident
from raybench.evaluation.retrieval.whitening import BLOCK_ROWS, unit_rows
from raybench.features.store import FeatureSet

Embeddings = Float[torch.Tensor, "n d"]
Targets = Int[np.ndarray, " n"]


class QueryGallery:
    """Embeddings of a split's queries and of the gallery that the dataset assigns to them.

    `hparams` choose layer, pooling and scales.

    Raises:
        SplitLockedError: if `split` is test while the dataset is locked.
    """

    def __init__(self, context: TrialContext, hparams: Hparams, split: Split) -> None:
        self._context = context
        self._hparams = hparams
        self._gallery = context.dataset.gallery(split)
        self._embedded: dict[tuple[bool, Split], tuple[Embeddings, Targets]] = {}
        self.queries, self._query_targets = self._embed(split)
        self.self_indices = np.arange(len(self.queries)) if self._gallery.leave_one_out else None
        """Each query's own gallery index where the gallery is the split itself (leave-one-out), else None."""

    @property
    def train(self) -> Embeddings:
        """Embeddings of train: whitening is fitted on them only."""
        return self._embed("train")[0]

    def gallery(self) -> Embeddings:
        """Embeddings of the whole gallery, distractors last; a copy where it has several parts."""
        parts = [self._embed(split)[0] for split in self._gallery.splits]
        if self._context.dataset.distractors is not None:
            parts.append(self._embed("train", of_distractors=True)[0])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @property
    def truth(self) -> GroundTruth:
        """Positives and junk of every query."""
        if self._gallery.truth is not None:
            return self._gallery.truth
        targets = [self._embed(split)[1] for split in self._gallery.splits]
        return ClassTruth(self._query_targets, np.concatenate(targets), self.self_indices)

    def _embed(self, split: Split, *, of_distractors: bool = False) -> tuple[Embeddings, Targets]:
        """(Embeddings, class ids) of a split."""
        key = (of_distractors, split)
        if key not in self._embedded:
            dataset = self._context.dataset
            stored = self._stored(dataset.distractors or dataset if of_distractors else dataset, split)
            scales = [resident(features.features, self._context.device) for features in stored]
            embeddings = scales[0] if len(scales) == 1 else mean_over_scales(scales, self._scales_power)
            self._embedded[key] = embeddings, stored[0].targets
        return self._embedded[key]

    def _stored(self, dataset: Dataset, split: Split) -> list[FeatureSet]:
        """The split's features at every scale."""
        context = self._context
        specs = [
            _feature_spec(self._hparams, scale)
            for scale in SCALES[str(self._hparams.get("scales", "single"))]
        ]
        return [
            context.store.get(
                context.backbone_info,
                dataset,
                split,
                device=context.device,
                spec=spec,
                prefetch=_prefetch(spec),
            )
            for spec in specs
        ]

    @property
    def _scales_power(self) -> float:
        """Exponent of the mean over scales: GeM's for GeM features; 1 for others, which may be negative."""
        is_gem = self._hparams.get("pooling") == "gem"
        return float(self._hparams.get("gem_power", 3.0)) if is_gem else 1.0


def mean_over_scales(scales: Sequence[Embeddings], power: float) -> Embeddings:
    """Generalised mean of each image's unit embeddings at several scales, scaled to unit length.

    Args:
        scales: per scale the embeddings of the same images; components at least 0 unless `power` is 1.
        power: exponent of the mean; 1 is the arithmetic mean.

    Source: Radenović et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018.
    """
    result = torch.empty_like(scales[0])
    for start in range(0, len(result), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        total = torch.zeros_like(scales[0][rows])
        for embeddings in scales:
            total += unit_rows(embeddings[rows]) ** power / len(scales)
        result[rows] = unit_rows(total ** (1.0 / power))
    return result


def _feature_spec(hparams: Hparams, scale: float) -> FeatureSpec:
    return FeatureSpec(
        int(hparams.get("layer", 0)),
        hparams.get("pooling", "pooled"),  # type: ignore[arg-type]
        float(hparams.get("gem_power", 3.0)),
        scale,
    )


def _prefetch(spec: FeatureSpec) -> list[FeatureSpec]:
    """Specs that other trials of the search may need, from the same forward passes as `spec`.

    None for the backbone's pooled output, which all protocols share.
    """
    if spec.is_pooled_output:
        return []
    layers = EARLIER_LAYERS if spec.layer else (0,)
    specs = [
        FeatureSpec(layer, pooling, power, spec.scale)  # type: ignore[arg-type]
        for layer in layers
        for pooling in POOLINGS
        for power in (GEM_POWERS if pooling == "gem" else (3.0,))
    ]
    return [other for other in specs if not other.is_pooled_output]
