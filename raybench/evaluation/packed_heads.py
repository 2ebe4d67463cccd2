"""Many linear heads trained at once on the same features, with one matrix product for all.

The weights of m heads are one matrix [d + 1, c·m]; its last row is the bias. Columns are grouped by class, so
that the softmax over classes runs along long rows (13 times faster than over ten classes at a time). A step
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
        self.weights = start.repeat_interleave(self.num_heads, dim=1).to(device)
        self._lr = torch.tensor([lr for lr, _ in cells]).repeat(num_classes).to(device)
        self._decay = torch.tensor([decay for _, decay in cells]).repeat(num_classes).to(device)
        self._has_decay = any(decay > 0 for _, decay in cells)
        self._velocity = torch.zeros_like(self.weights)
        self._gradient = torch.zeros_like(self.weights) if solver == "adamw" else None
        self._square = torch.zeros_like(self.weights) if solver == "adamw" else None
        self._num_steps = 0

    def logits(self, features: Float[torch.Tensor, "b d1"]) -> Float[torch.Tensor, "b c m"]:
        """Logits of every head; the last column of `features` is 1."""
        return (features @ self.weights).view(len(features), self.num_classes, self.num_heads)

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
        return self.weights.view(-1, self.num_classes, self.num_heads)[:, :, index].clone()

    def _softmax_error(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Gradient of the summed cross-entropy with respect to the logits, softmax − one-hot: [b, c·m]."""
        logits = self.logits(features)
        # torch's softmax is slow along a last dimension of 1.
        flat = logits[..., 0] if self.num_heads == 1 else logits
        error = torch.softmax(flat, dim=1, out=flat)
        error[torch.arange(len(targets), device=error.device), targets] -= 1.0
        return error.view(len(targets), -1)

    def _sgd_step(self, features: torch.Tensor, error: torch.Tensor, lr_factor: float) -> None:
        # velocity ← momentum · velocity + mean gradient, both inside the matrix product.
        self._velocity.addmm_(features.T, error, beta=MOMENTUM, alpha=1.0 / len(features))
        if self._has_decay:
            self._velocity[:-1].addcmul_(self.weights[:-1], self._decay)
        self.weights.addcmul_(self._velocity, self._lr, value=-lr_factor)

    def _adamw_step(self, features: torch.Tensor, error: torch.Tensor, lr_factor: float) -> None:
        if self._gradient is None or self._square is None:
            raise RuntimeError("AdamW's buffers are missing; the solver was changed after construction.")
        torch.addmm(
            self._gradient, features.T, error, beta=0.0, alpha=1.0 / len(features), out=self._gradient
        )
        if self._has_decay:
            self.weights[:-1].mul_(1 - lr_factor * self._lr * self._decay)
        self._velocity.lerp_(self._gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(self._gradient, self._gradient, value=1 - BETAS[1])
        correction = 1 - BETAS[0] ** self._num_steps
        square_correction = (1 - BETAS[1] ** self._num_steps) ** 0.5
        update = torch.sqrt(self._square, out=self._gradient).div_(square_correction).add_(EPS)
        torch.div(self._velocity, update, out=update)
        self.weights.addcmul_(update, self._lr, value=-lr_factor / correction)
