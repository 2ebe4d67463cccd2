"""The two sides of a search as descriptors: queries, what the dataset lets them search in, and the truth."""

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

Rows = Float[torch.Tensor, "n d"]


class QueryGallery:
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
        self.own = np.arange(len(self.queries)) if self._gallery.leave_one_out else None
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
            parts = [resident(part.features, self._context.device) for part in stored]
            descriptors = parts[0] if len(parts) == 1 else combined(parts, self._scales_power)
            self._described[key] = descriptors, stored[0].targets
        return self._described[key]

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
        """GeM's own exponent for its descriptors, which are above 0; others may be negative: their mean."""
        is_gem = self._hparams.get("pooling") == "gem"
        return float(self._hparams.get("gem_power", 3.0)) if is_gem else 1.0


def combined(parts: Sequence[Rows], power: float) -> Rows:
    """One descriptor per image from those at several scales: the generalised mean of the unit descriptors.

    Args:
        parts: per scale the same images, shape [n, d]; components at least 0 unless `power` is 1.
        power: exponent of the mean; 1 is the plain one.

    Returns:
        Unit rows, made block by block.

    Source: Radenović et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018.
    """
    result = torch.empty_like(parts[0])
    for start in range(0, len(result), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        total = torch.zeros_like(parts[0][rows])
        for part in parts:
            total += unit_rows(part[rows]) ** power / len(parts)
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
