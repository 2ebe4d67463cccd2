"""Adversarial attacks, by foolbox, on pixels in [0, 1], with reproducible random starts.

foolbox draws random starts from torch's global generator, so its result depends on how examples are batched.
Here an example's start depends on its id, the seed and the restart only.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

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
"""Larger than the span of ImageNet classifiers' logits, so these stay unscaled; e^-30 does not underflow."""
DEEPFOOL_STEPS = 50
DEEPFOOL_CANDIDATES = 10
"""foolbox's defaults; as in Moosavi-Dezfooli et al., CVPR 2016."""


Attack = Callable[[Pixels, torch.Tensor, Sequence[str], float], tuple[Pixels, Bool[torch.Tensor, " b"]]]
"""(Pixels, targets, ids, epsilon) → (attacked pixels, whether each is misclassified).

Searches the ball of radius epsilon around each image for an image that the model misclassifies. Results lie
in the ball and in [0, 1] up to rounding.
"""


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
        model: pixels → logits; frozen, so that backward passes compute no gradients for weights.
        norm: of the ball.
        steps: gradient steps per start.
        rel_stepsize: length of a step as a share of epsilon.
        restarts: number of starts; later ones only attack images that are still classified correctly.
        random_start: start at a point drawn uniformly in the ball, else at the image itself.
        seed: of the starting points.

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """
    kind = LinfProjectedGradientDescentAttack if norm == "linf" else L2ProjectedGradientDescentAttack
    inner = kind(steps=steps, rel_stepsize=rel_stepsize, random_start=random_start)
    wrapped = _foolbox_model(model)

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        attacked = pixels.clone()
        is_wrong = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        for restart in range(restarts):
            left = (~is_wrong).nonzero()[:, 0]
            if not len(left):
                break
            if random_start:
                start = start_noise(pixels[left], [ids[i] for i in left.tolist()], norm, seed, restart)
                inner.get_random_start = functools.partial(_add_noise, start)
            _, attacked[left], is_wrong[left] = inner(wrapped, pixels[left], targets[left], epsilons=epsilon)
        return attacked, is_wrong

    return attack


def fgsm(model: nn.Module, norm: Norm) -> Attack:
    """One gradient step of length epsilon (Goodfellow et al., ICLR 2015), not randomised."""
    inner = LinfFastGradientAttack() if norm == "linf" else L2FastGradientAttack()
    wrapped = _foolbox_model(model)
    return lambda pixels, targets, ids, epsilon: inner(wrapped, pixels, targets, epsilons=epsilon)[1:]


def noise(model: nn.Module, norm: Norm, *, seed: int = 0) -> Attack:
    """A random point of the ball: the baseline that an attack by gradients must exceed."""
    wrapped = _foolbox_model(model)

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        # `pgd` has no restart -1, so this noise is none of its starts.
        noisy = (pixels + epsilon * start_noise(pixels, ids, norm, seed, -1)).clamp(0, 1)
        with torch.no_grad():
            return noisy, wrapped(noisy).argmax(dim=1) != targets

    return attack


def _add_noise(start: torch.Tensor, x0: Any, epsilon: float) -> Any:
    """Add the start's noise; foolbox calls it with an eagerpy tensor x0."""
    return x0 + type(x0)(start) * epsilon


def deepfool_distances(
    model: nn.Module, pixels: Pixels, targets: torch.Tensor, *, steps: int = DEEPFOOL_STEPS
) -> Float[np.ndarray, " b"]:
    """L2 length of a small perturbation that changes the predicted class; inf where none was found.

    Source: Moosavi-Dezfooli et al., "DeepFool", CVPR 2016, as foolbox implements it (10 likeliest classes).
    """
    attack = L2DeepFoolAttack(steps=steps, candidates=DEEPFOOL_CANDIDATES)
    attacked, _, is_wrong = attack(_foolbox_model(model), pixels, targets, epsilons=None)
    length = (attacked - pixels).flatten(1).norm(dim=1)
    return torch.where(is_wrong, length, torch.inf).cpu().numpy()


def start_noise(pixels: Pixels, ids: Sequence[str], norm: Norm, seed: int, restart: int) -> Pixels:
    """Points drawn uniformly in the unit ball, seeded by each example's id, so batching does not matter."""
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
    """The model with logits scaled down where cross-entropy has no gradient; predictions do not change.

    A probe on separable features can be so confident that its softmax is 1 in float32. The loss is then flat
    and the attack does not move, which looks like robustness. Logits that span more than MAX_LOGIT_SPAN are
    scaled to it, image by image, by a factor that is not differentiated.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = self.model(pixels)
        low, high = logits.detach().aminmax(dim=1, keepdim=True)
        return logits * (MAX_LOGIT_SPAN / (high - low)).clamp(max=1.0)


def _foolbox_model(model: nn.Module) -> Any:
    device = next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))
    return foolbox.PyTorchModel(Unsaturated(model).eval(), bounds=(0, 1), device=device)
