"""Many linear heads trained at once on the same features, with one matrix product for all.

The weights of m heads are one matrix [d + 1, c·m]; its last row is the bias. Columns of up to `SMALL_PACK`
are grouped by class, so that the softmax over classes runs along long rows (13 times faster than over ten
classes at a time); columns of larger packs by head, so that it runs along the classes (twice to seven times
faster with 100 classes and more). A step
takes two matrix products for any m; a loop over m `nn.Linear`s, as in DINOv2, takes m products and m autograd
graphs. Each head is trained as by `torch.optim.SGD` or `AdamW` on its own cross-entropy. The order of
summation depends on m, so a head trained alone equals its column of the grid up to rounding only.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int

Solver = Literal["sgd", "adamw"]

MOMENTUM = 0.9
BETAS = (0.9, 0.999)
EPS = 1e-8
SMALL_PACK = 2048
"""Columns (heads × classes) up to which they are grouped by class and no head is dropped: see `halving`."""
INIT_STD = 0.01
"""DINOv2's initialisation of linear heads."""


class PackedHeads:
    """m softmax classifiers over the same features, each with its own learning rate and weight decay."""

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        cells: Sequence[tuple[float, float]],
        *,
        solver: Solver,
        seed: int,
        device: torch.device,
    ) -> None:
        """Start all heads from the same weights; `cells` holds one (learning rate, weight decay) per head.

        The bias does not decay, as in scikit-learn: with standardised features it holds class frequencies.
        """
        self.num_classes = num_classes
        self.num_heads = len(cells)
        self.solver = solver
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(num_features, num_classes, generator=generator) * INIT_STD
        start = torch.nn.functional.pad(start, (0, 0, 0, 1))
        self._is_by_head = self.num_heads > 1 and self.num_heads * num_classes > SMALL_PACK
        self._weights = self._columns(start[:, :, None].expand(-1, -1, self.num_heads)).to(device)
        rates, decays = torch.tensor(cells).T
        self._lr = self._columns(rates.expand(num_classes, -1)).to(device)
        self._decay = self._columns(decays.expand(num_classes, -1)).to(device)
        self._has_decay = any(decay > 0 for _, decay in cells)
        self._velocity = torch.zeros_like(self._weights)
        self._gradient = torch.zeros_like(self._weights) if solver == "adamw" else None
        self._square = torch.zeros_like(self._weights) if solver == "adamw" else None
        self._num_steps = 0

    @property
    def weights(self) -> Float[torch.Tensor, "d1 c*m"]:
        """All weights, columns grouped by class; a copy in a large pack."""
        return self._by_class(self._weights).flatten(1)

    def logits(self, features: Float[torch.Tensor, "b d1"]) -> Float[torch.Tensor, "b c m"]:
        """Logits of every head; the last column of `features` is 1."""
        return self._by_class(features @ self._weights)

    def step(
        self, features: Float[torch.Tensor, "b d1"], targets: Int[torch.Tensor, " b"], lr_factor: float
    ) -> None:
        """One optimiser step of every head on one batch; `lr_factor` in [0, 1] is the schedule's factor."""
        error = self._softmax_error(features, targets)
        self._num_steps += 1
        if self.solver == "sgd":
            self._sgd_step(features, error, lr_factor)
        else:
            self._adamw_step(features, error, lr_factor)

    def head(self, index: int) -> Float[torch.Tensor, "d1 c"]:
        """A copy of one head's weights; the last row is its bias."""
        return self._by_class(self._weights)[:, :, index].clone()

    def keep(self, heads: Sequence[int]) -> None:
        """Train only these heads further; their weights, optimiser state and order stay."""

        tensors = (self._weights, self._velocity, self._lr, self._decay)
        kept = [self._columns(self._by_class(values)[..., list(heads)]) for values in tensors]
        square = self._square
        if square is not None:
            self._square = self._columns(self._by_class(square)[..., list(heads)])
            self._gradient = torch.zeros_like(kept[0])
        self._weights, self._velocity, self._lr, self._decay = kept
        self._has_decay = bool((self._decay > 0).any())
        self.num_heads = len(heads)

    def _by_class(self, values: torch.Tensor) -> torch.Tensor:
        """A view [..., c, m] of values per column."""
        shape = values.shape[:-1]
        if self._is_by_head:
            return values.view(*shape, self.num_heads, self.num_classes).transpose(-1, -2)
        return values.view(*shape, self.num_classes, self.num_heads)

    def _columns(self, values: torch.Tensor) -> torch.Tensor:
        """The inverse of `_by_class`: [..., c, m] → [..., c·m], contiguous."""
        return (values.transpose(-1, -2) if self._is_by_head else values).flatten(-2).contiguous()

    def _softmax_error(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Gradient of the summed cross-entropy with respect to the logits, softmax − one-hot: [b, c·m]."""
        columns = features @ self._weights
        if self._is_by_head:
            rows = columns.view(-1, self.num_classes)
            torch.softmax(rows, dim=1, out=rows)
        else:
            logits = self._by_class(columns)
            # torch's softmax is slow along a last dimension of 1.
            flat = logits[..., 0] if self.num_heads == 1 else logits
            torch.softmax(flat, dim=1, out=flat)
        self._by_class(columns)[torch.arange(len(targets), device=columns.device), targets] -= 1.0
        return columns

    def _sgd_step(self, features: torch.Tensor, error: torch.Tensor, lr_factor: float) -> None:
        # velocity ← momentum · velocity + mean gradient, both inside the matrix product.
        self._velocity.addmm_(features.T, error, beta=MOMENTUM, alpha=1.0 / len(features))
        if self._has_decay:
            self._velocity[:-1].addcmul_(self._weights[:-1], self._decay)
        self._weights.addcmul_(self._velocity, self._lr, value=-lr_factor)

    def _adamw_step(self, features: torch.Tensor, error: torch.Tensor, lr_factor: float) -> None:
        if self._gradient is None or self._square is None:
            raise RuntimeError("AdamW's buffers are missing; the solver was changed after construction.")
        torch.addmm(
            self._gradient, features.T, error, beta=0.0, alpha=1.0 / len(features), out=self._gradient
        )
        if self._has_decay:
            self._weights[:-1].mul_(1 - lr_factor * self._lr * self._decay)
        self._velocity.lerp_(self._gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(self._gradient, self._gradient, value=1 - BETAS[1])
        correction = 1 - BETAS[0] ** self._num_steps
        square_correction = (1 - BETAS[1] ** self._num_steps) ** 0.5
        update = torch.sqrt(self._square, out=self._gradient).div_(square_correction).add_(EPS)
        torch.div(self._velocity, update, out=update)
        self._weights.addcmul_(update, self._lr, value=-lr_factor / correction)
