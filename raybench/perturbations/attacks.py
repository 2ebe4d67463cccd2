"""Adversarial attacks, by foolbox, on pixels in [0, 1]. What foolbox leaves to chance is decided here.

foolbox draws random starts from torch's global generator, so its result depends on how examples are batched;
here an example's start follows from its id, the seed and the restart alone.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import foolbox
import numpy as np
import torch
from foolbox.attacks import (
    L2DeepFoolAttack,
    L2FastGradientAttack,
    L2ProjectedGradientDescentAttack,
    LinfFastGradientAttack,
    LinfProjectedGradientDescentAttack,
)
from jaxtyping import Bool, Float
from torch import nn

Norm = Literal["linf", "l2"]
Pixels = Float[torch.Tensor, "b 3 s s"]

MAX_LOGIT_SPAN = 30.0
"""Wider than the logits of ImageNet classifiers, which stay as they are; e^-30 is far from underflow."""
DEEPFOOL_STEPS = 50
DEEPFOOL_CANDIDATES = 10
"""foolbox's defaults; as in Moosavi-Dezfooli et al., CVPR 2016."""


class Attack(Protocol):
    """Searches a ball around each image for one that the model names differently."""

    def __call__(
        self, pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, Bool[torch.Tensor, " b"]]:
        """(Attacked images, whether they are misclassified). Within `epsilon` and [0, 1] up to rounding."""
        ...


class _LinfPgd(LinfProjectedGradientDescentAttack):
    """foolbox's, from given starting directions."""

    noise: torch.Tensor | None = None

    def get_random_start(self, x0: Any, epsilon: float) -> Any:
        return x0 + type(x0)(self.noise) * epsilon


class _L2Pgd(L2ProjectedGradientDescentAttack):
    noise: torch.Tensor | None = None

    def get_random_start(self, x0: Any, epsilon: float) -> Any:
        return x0 + type(x0)(self.noise) * epsilon


def pgd(
    model: nn.Module,
    norm: Norm,
    *,
    steps: int,
    rel_stepsize: float,
    restarts: int = 1,
    random_start: bool = True,
    seed: int = 0,
) -> Attack:
    """Projected gradient ascent on the cross-entropy.

    Args:
        model: pixels → logits; frozen, or every backward pass computes gradients for weights as well.
        norm: of the ball.
        steps: gradient steps per start.
        rel_stepsize: length of a step as a share of epsilon.
        restarts: starts; later ones are made for images that withstood the earlier ones.
        random_start: from a point drawn uniformly in the ball, or from the image itself.
        seed: of the starting points.

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """
    kind = _LinfPgd if norm == "linf" else _L2Pgd
    inner = kind(steps=steps, rel_stepsize=rel_stepsize, random_start=random_start)
    wrapped = _wrapped(model)

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        attacked = pixels.clone()
        broken = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        for restart in range(restarts):
            left = (~broken).nonzero()[:, 0]
            if not len(left):
                break
            if random_start:
                inner.noise = start_noise(pixels[left], [ids[i] for i in left.tolist()], norm, seed, restart)
            _, found, success = inner(wrapped, pixels[left], targets[left], epsilons=epsilon)
            attacked[left], broken[left] = found, success
        return attacked, broken

    return attack


def fgsm(model: nn.Module, norm: Norm) -> Attack:
    """One gradient step of length epsilon (Goodfellow et al., ICLR 2015); nothing random."""
    inner = LinfFastGradientAttack() if norm == "linf" else L2FastGradientAttack()
    wrapped = _wrapped(model)

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        _, found, success = inner(wrapped, pixels, targets, epsilons=epsilon)
        return found, success

    return attack


def noise(model: nn.Module, norm: Norm, *, seed: int = 0) -> Attack:
    """A random point of the ball: what any attack that follows gradients must outdo."""
    wrapped = _wrapped(model)

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        # Restart -1 is none that `pgd` makes.
        found = (pixels + epsilon * start_noise(pixels, ids, norm, seed, -1)).clamp(0, 1)
        with torch.no_grad():
            return found, wrapped(found).argmax(dim=1) != targets

    return attack


def deepfool_distances(
    model: nn.Module, pixels: Pixels, targets: torch.Tensor, *, steps: int = DEEPFOOL_STEPS
) -> Float[np.ndarray, " b"]:
    """L2 length of a small perturbation that changes the answer, inf where none was found.

    Source: Moosavi-Dezfooli et al., "DeepFool", CVPR 2016, as foolbox has it (10 likeliest classes).
    """
    attack = L2DeepFoolAttack(steps=steps, candidates=DEEPFOOL_CANDIDATES)
    found, _, success = attack(_wrapped(model), pixels, targets, epsilons=None)
    length = (found - pixels).flatten(1).norm(dim=1)
    return torch.where(success, length, torch.inf).cpu().numpy()


def start_noise(pixels: Pixels, ids: Sequence[str], norm: Norm, seed: int, restart: int) -> Pixels:
    """Points drawn uniformly in the unit ball, each from its example's id: any batch split gives the same."""
    shape = pixels.shape[1:]
    drawn = torch.stack([_draw(shape, norm, f"{seed}/{restart}/{example_id}") for example_id in ids])
    return drawn.to(pixels.device)


def _draw(shape: torch.Size, norm: Norm, key: str) -> torch.Tensor:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    if norm == "linf":
        return torch.from_numpy(generator.uniform(-1, 1, shape).astype(np.float32))
    direction = generator.standard_normal(shape)
    radius = generator.uniform() ** (1 / direction.size)
    return torch.from_numpy((radius * direction / np.linalg.norm(direction)).astype(np.float32))


class Unsaturated(nn.Module):
    """The same answers, on a scale on which cross-entropy has gradients.

    A probe on separable features is so sure that its softmax is 1 to the last float32 digit; then the loss is
    flat and the attack stands still, which looks like robustness. Logits that span more than MAX_LOGIT_SPAN
    are scaled down to it, image by image, by a factor that takes no part in the gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.model(pixels)
        low, high = logits.detach().aminmax(dim=1, keepdim=True)
        return logits * (MAX_LOGIT_SPAN / (high - low)).clamp(max=1.0)


def _wrapped(model: nn.Module) -> Any:
    device = next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    return foolbox.PyTorchModel(Unsaturated(model).eval(), bounds=(0, 1), device=device)
