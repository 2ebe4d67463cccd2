"""The protocol `pretrained_head`: the classifier that a checkpoint came with, as it is; untrained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from raybench.backbones.imagenet import imagenet_wnids
from raybench.backbones.loading import load_backbone
from raybench.core.errors import CheckpointError
from raybench.core.records import Hparams
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.feature_norm import FeatureNorm
from raybench.evaluation.head_on_features import HeadOnFeatures
from raybench.evaluation.outcomes import EpochResult, Predictions


def pretrained_head(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare it. Nothing is chosen and nothing random: all arguments but the first change nothing."""
    return PretrainedHeadRun(context)


class PretrainedHeadRun(HeadOnFeatures):
    """The checkpoint's linear head on stored features: all its classes compete, not the dataset's alone."""

    def __init__(self, context: TrialContext) -> None:
        super().__init__(context, kind="none")
        self._names: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the head's outputs: the dataset's where it has as many, else ImageNet-1k's WordNet ids."""
        if not self._names:
            self._names = head_classes(self._context.dataset.class_names, self._num_outputs())
        return self._names

    def run_epochs(self) -> Iterator[EpochResult]:
        """A single rung: the head on val.

        Raises:
            CheckpointError: if the checkpoint has no linear head, or its classes are not the dataset's.
        """
        features = self._features("train").features
        self._head = own_head(self._context)
        self._norm = FeatureNorm.fit("none", features[:1])
        yield EpochResult(epoch=1, metrics=self.report("val").metrics)

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of all the head's classes, [n, c]; targets count among these."""
        found = super().predict(split)
        position = {name: i for i, name in enumerate(self.class_names)}
        names = self._context.dataset.class_names
        return replace(found, targets=np.array([position[names[t]] for t in found.targets], dtype=np.int64))

    def _num_outputs(self) -> int:
        if self._head is None:
            raise RuntimeError("there is no head yet; iterate run_epochs() or call restore() first.")
        return int(self._head.shape[1])


def head_classes(dataset: Sequence[str], num_outputs: int) -> tuple[str, ...]:
    """Names of a head's outputs, given the class names of the dataset it is to be measured on.

    Raises:
        CheckpointError: if the dataset's classes cannot be found among the outputs.
    """
    if len(dataset) == num_outputs:
        return tuple(dataset)
    wnids = imagenet_wnids()
    if num_outputs == len(wnids) and set(dataset) <= set(wnids):
        return wnids
    raise CheckpointError(
        f"the checkpoint's own head has {num_outputs} outputs, the dataset {len(dataset)} classes "
        f"({', '.join(dataset[:3])}, ...); `pretrained_head` needs as many, or folders named by "
        "ImageNet-1k's WordNet ids and a head of 1000."
    )


def own_head(context: TrialContext) -> torch.Tensor:
    """The checkpoint's classifier as weights [d + 1, c], the last row its bias.

    Raises:
        CheckpointError: if it has none, or one that is no linear layer.
    """
    backbone = load_backbone(context.backbone_info, device=context.device, keep_head=True)
    head = backbone.head
    if not isinstance(head, torch.nn.Linear):
        raise CheckpointError(
            f"{context.backbone_info.name} has no linear head of its own (its classifier is a "
            f"{type(head).__name__}); measure it with `linear_probe` instead."
        )
    bias = head.bias if head.bias is not None else head.weight.new_zeros(len(head.weight))
    return torch.cat([head.weight.T, bias[None]]).detach()
