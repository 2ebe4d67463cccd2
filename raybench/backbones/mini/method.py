"""Interface of a pretraining method."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn


class Method(nn.Module, ABC):
    """A backbone with the parts that only pretraining needs, and a loss."""

    backbone: nn.Module

    @abstractmethod
    def augment(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [b, 32, 32, 3] on the CPU → one or more views, normalised float32 [b, 3, 32, 32]."""

    @abstractmethod
    def forward(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """The loss of a batch, a scalar; labels are int64 [b], which self-supervised methods ignore."""

    if TYPE_CHECKING:  # nn.Module declares __call__ as returning Any.

        def __call__(self, views: tuple[Tensor, ...], labels: Tensor) -> Tensor: ...
