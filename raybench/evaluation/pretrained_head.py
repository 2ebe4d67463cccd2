"""The protocol `pretrained_head`: the classifier that is part of the checkpoint, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int

from raybench.backbones.imagenet import imagenet_wnids
from raybench.backbones.loading import load_backbone
from raybench.core.errors import CheckpointError
from raybench.core.records import Hparams
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.feature_norm import FeatureNorm
from raybench.evaluation.linear_head import LinearHeadRun
from raybench.evaluation.outcomes import EpochResult, Predictions


def pretrained_head(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare the checkpoint's head. Nothing is chosen or random: only `context` matters."""
    return PretrainedHeadRun(context)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """The classes of a head and those of a dataset."""

    names: tuple[str, ...]
    """Name of every output; not necessarily unique."""
    of_class: Int[np.ndarray, " c"]
    """Class of the dataset → index of its output."""


class PretrainedHeadRun(LinearHeadRun):
    """The checkpoint's linear head on stored features; answers are chosen among all its classes."""

    def __init__(self, context: TrialContext) -> None:
        super().__init__(context, "none")
        self._outputs: HeadOutputs | None = None

    @property
    def outputs(self) -> HeadOutputs:
        """The head's outputs, and which of them each class of the dataset is."""
        if self._outputs is None:
            num_outputs = int(self._fitted()[1].shape[1])
            self._outputs = match_outputs(self._context.dataset.class_names, num_outputs)
        return self._outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the head's outputs: the dataset's if it has as many, else ImageNet-1k's WordNet ids."""
        return self.outputs.names

    def run_epochs(self) -> Iterator[EpochResult]:
        """Yield a single result: the head on val.

        Raises:
            CheckpointError: if the checkpoint has no linear head, or its classes are not the dataset's.
        """
        self._norm = FeatureNorm.fit("none", self._context.features("train").features[:1])
        self._head = checkpoint_head(self._context)
        yield EpochResult(epoch=1, metrics=self.report("val").metrics)

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of all the head's classes, [n, c]; targets are indices of outputs."""
        predictions = super().predict(split)
        return replace(predictions, targets=self.outputs.of_class[predictions.targets])


def match_outputs(classes: Sequence[str], num_outputs: int) -> HeadOutputs:
    """Match the classes of a dataset with the outputs of a head.

    WordNet ids are looked up among ImageNet-1k's 1,000. Names that are exactly 0…n−1 are indices of outputs.
    Other names are in the order of the outputs if there are as many, as sorted class folders are; a class is
    then known by its position, so that equal names (ImageNet's two `crane`) stay apart.

    Raises:
        CheckpointError: if the classes cannot be matched, or numbers among their names leave two orders open.
    """
    wnids = imagenet_wnids()
    if num_outputs == len(wnids) and set(classes) <= set(wnids):
        position = {wnid: index for index, wnid in enumerate(wnids)}
        return HeadOutputs(names=wnids, of_class=np.array([position[name] for name in classes]))
    if len(classes) != num_outputs:
        raise CheckpointError(
            f"the checkpoint's own head has {num_outputs} outputs, the dataset {len(classes)} classes "
            f"({', '.join(classes[:3])}, ...); `pretrained_head` needs as many, or folders named by "
            "ImageNet-1k's WordNet ids and a head of 1000."
        )
    numbers = [int(name) for name in classes if name.isascii() and name.isdecimal()]
    if sorted(numbers) == list(range(num_outputs)):
        names = [""] * num_outputs
        for name, number in zip(classes, numbers, strict=True):
            names[number] = name
        return HeadOutputs(names=tuple(names), of_class=np.array(numbers))
    if numbers != sorted(numbers):
        raise CheckpointError(
            f"class names such as {', '.join(classes[:3])} are numbers, but not 0…{num_outputs - 1}, so the "
            "order of the head's outputs is not known; name the class folders 0, 1, … or by words."
        )
    return HeadOutputs(names=tuple(classes), of_class=np.arange(num_outputs))


def checkpoint_head(context: TrialContext) -> torch.Tensor:
    """The checkpoint's classifier as weights [d + 1, c], the last row its bias.

    Raises:
        CheckpointError: if there is none, or it is not a linear layer.
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
