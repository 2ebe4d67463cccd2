"""Auto-PGD (APGD): projected gradient ascent that halves its step size where progress stops.

Source: Croce & Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
Parameter-free Attacks", ICML 2020: algorithm 1, and section 4 for the loss DLR. APGD on cross-entropy and on
DLR are the first two attacks of AutoAttack.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.nn import functional as F

from raybench.perturbations.attacks import Attack, Norm, Pixels, Unsaturated, start_noise

Loss = Literal["ce", "dlr"]
Losses = Float[torch.Tensor, " b"]
MIN_DLR_CLASSES = 4
"""DLR's denominator needs a third logit besides the two in its numerator."""
MOMENTUM = 0.75
"""Weight of a gradient step (alpha); the rest goes to the last change."""
MIN_INCREASES = 0.75
"""Share of steps since the last check that must increase the loss, else the step size is halved (rho)."""
FIRST_PERIOD, PERIOD_DECREASE, MIN_PERIOD = 0.22, 0.03, 0.06
"""Periods between checks as shares of all steps (section 3.2)."""
START_KEYS: dict[Loss, int] = {"ce": -2, "dlr": -3}
"""Keys of the random starts, different from those of `noise` and of the restarts of `pgd`."""
TINY = 1e-12


def apgd(model: nn.Module, norm: Norm, loss: Loss, *, steps: int, seed: int = 0) -> Attack:
    """APGD from one random start on the surface of the ball, as in AutoAttack.

    Args:
        model: pixels → logits; frozen.
        norm: of the ball.
        loss: cross-entropy, or the difference of logits ratio, which does not vanish for confident models.
        steps: gradient steps; AutoAttack takes 100.
        seed: of the starting points.
    """
    wrapped = Unsaturated(model).eval()
    loss_of = _cross_entropy if loss == "ce" else dlr_loss

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        def evaluate(attacked: Pixels) -> _Evaluated:
            attacked = attacked.detach().requires_grad_()
            with torch.enable_grad():
                logits = wrapped(attacked)
                losses = loss_of(logits, targets)
                (gradient,) = torch.autograd.grad(losses.sum(), attacked)
            is_wrong = logits.argmax(dim=1) != targets
            return _Evaluated(attacked.detach(), losses.detach(), gradient, is_wrong)

        start = start_noise(pixels, ids, norm, seed, START_KEYS[loss])
        start = (pixels + epsilon * _normalized(start, norm)).clamp(0, 1)
        return _ascend(evaluate, _Ball(pixels, norm, epsilon), start, steps)

    return attack


def in_sequence(attacks: Sequence[Attack]) -> Attack:
    """The attacks one after the other, each on the images that those before have not broken."""

    def attack(
        pixels: Pixels, targets: torch.Tensor, ids: Sequence[str], epsilon: float
    ) -> tuple[Pixels, torch.Tensor]:
        attacked = pixels.clone()
        is_wrong = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        for single in attacks:
            left = (~is_wrong).nonzero()[:, 0]
            if not len(left):
                break
            left_ids = [ids[i] for i in left.tolist()]
            attacked[left], is_wrong[left] = single(pixels[left], targets[left], left_ids, epsilon)
        return attacked, is_wrong

    return attack


def dlr_loss(logits: Float[torch.Tensor, "b c"], targets: Int[torch.Tensor, " b"]) -> Losses:
    """Difference of logits ratio: −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3), where π sorts descending.

    Positive where the answer is wrong; unchanged when logits are shifted or scaled.
    """
    largest = logits.topk(3, dim=1).values
    right = logits.gather(1, targets[:, None])[:, 0]
    is_right = logits.argmax(dim=1) == targets
    other = torch.where(is_right, largest[:, 1], largest[:, 0])
    return (other - right) / (largest[:, 0] - largest[:, 2] + TINY)


def check_steps(steps: int) -> list[int]:
    """Numbers of steps after which step sizes are checked; periods shrink, as in section 3.2.

    >>> check_steps(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    period = max(int(FIRST_PERIOD * steps), 1)
    decrease, shortest = max(int(PERIOD_DECREASE * steps), 1), max(int(MIN_PERIOD * steps), 1)
    checks, step = [], period
    while step <= steps:
        checks.append(step)
        period = max(period - decrease, shortest)
        step += period
    return checks


@dataclass(slots=True)
class _Evaluated:
    """Attacked images with loss and gradient of each, and whether each is misclassified."""

    pixels: Pixels
    losses: Losses
    gradient: Pixels
    is_wrong: Bool[torch.Tensor, " b"]

    def replaced(self, where: Bool[torch.Tensor, " b"], other: "_Evaluated") -> "_Evaluated":
        """A copy with `other`'s results for the images in `where`."""
        images = where[:, None, None, None]
        return _Evaluated(
            torch.where(images, other.pixels, self.pixels),
            torch.where(where, other.losses, self.losses),
            torch.where(images, other.gradient, self.gradient),
            torch.where(where, other.is_wrong, self.is_wrong),
        )


@dataclass(frozen=True, slots=True)
class _Ball:
    """Ball around each image, within the range of pixels."""

    centre: Pixels
    norm: Norm
    epsilon: float

    def project(self, pixels: Pixels) -> Pixels:
        change = pixels - self.centre
        if self.norm == "linf":
            change = change.clamp(-self.epsilon, self.epsilon)
        else:
            change = change * (self.epsilon / _lengths(change).clamp(min=TINY)).clamp(max=1.0)
        return (self.centre + change).clamp(0, 1)

    def direction(self, gradient: Pixels) -> Pixels:
        """Steepest direction of length 1 in the norm."""
        return gradient.sign() if self.norm == "linf" else gradient / (_lengths(gradient) + TINY)


def _ascend(
    evaluate: Callable[[Pixels], _Evaluated], ball: _Ball, start: Pixels, steps: int
) -> tuple[Pixels, Bool[torch.Tensor, " b"]]:
    """Algorithm 1, ended early when every image is misclassified.

    Returns:
        (Per image a misclassified version, if one was found, else that of the highest loss; whether
        misclassified).
    """
    current = best = wrong = evaluate(start)
    previous, checks = start, set(check_steps(steps))
    step_size = torch.full_like(current.losses, 2 * ball.epsilon)
    increases, since_check = torch.zeros_like(current.losses), 0
    # As in AutoAttack's code, a step's loss is compared with that of the step before, even where the best
    # pixels have replaced that step's, and the first step's with 0. Algorithm 1 takes the replaced pixels'.
    last_losses = torch.zeros_like(current.losses)
    best_at_check, was_halved = best.losses, torch.ones_like(best.is_wrong)
    for step in range(1, steps + 1):
        if bool(wrong.is_wrong.all()):
            break
        following = _next_pixels(current, previous, ball, step_size, is_first=step == 1)
        previous, current = current.pixels, evaluate(following)
        wrong = wrong.replaced(current.is_wrong, current)
        best = best.replaced(current.losses > best.losses, current)
        increases, since_check = increases + (current.losses > last_losses), since_check + 1
        last_losses = current.losses
        if step in checks:
            is_stuck = ~was_halved & (best.losses <= best_at_check)
            was_halved = (increases <= MIN_INCREASES * since_check) | is_stuck
            step_size = torch.where(was_halved, step_size / 2, step_size)
            current = current.replaced(was_halved, best)
            best_at_check = best.losses
            increases, since_check = torch.zeros_like(increases), 0
    return best.replaced(wrong.is_wrong, wrong).pixels, wrong.is_wrong


def _next_pixels(
    current: _Evaluated, previous: Pixels, ball: _Ball, step_size: Losses, *, is_first: bool
) -> Pixels:
    """A gradient step, averaged with the last change; projected before and after."""
    pixels, weight = current.pixels, 1.0 if is_first else MOMENTUM
    stepped = ball.project(pixels + step_size[:, None, None, None] * ball.direction(current.gradient))
    return ball.project(pixels + weight * (stepped - pixels) + (1 - weight) * (pixels - previous))


def _cross_entropy(logits: Float[torch.Tensor, "b c"], targets: Int[torch.Tensor, " b"]) -> Losses:
    return F.cross_entropy(logits, targets, reduction="none")


def _normalized(noise: Pixels, norm: Norm) -> Pixels:
    """Scale each image's tensor to length 1 in the norm."""
    lengths = noise.abs().amax(dim=(1, 2, 3), keepdim=True) if norm == "linf" else _lengths(noise)
    return noise / lengths.clamp(min=TINY)


def _lengths(change: Pixels) -> Float[torch.Tensor, "b 1 1 1"]:
    return change.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
