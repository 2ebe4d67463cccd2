"""Attacks on a small smooth network, compared with plain loops."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from raybench.perturbations.attacks import deepfool_distances, fgsm, noise, pgd, start_noise

NUM = 12
IDS = [f"image-{i}" for i in range(NUM)]
EPSILONS = {"linf": 8 / 255, "l2": 1.0}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(8 * 7 * 7, 4)]
    return nn.Sequential(*layers).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def batch(model):
    pixels = torch.rand(NUM, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return pixels, model(pixels).argmax(dim=1)


ATTACKS = {
    f"{norm} {name}": (norm, make)
    for norm in EPSILONS
    for name, make in {
        "pgd": lambda model, norm: pgd(model, norm, steps=5, rel_stepsize=0.25),
        "pgd, two starts": lambda model, norm: pgd(model, norm, steps=3, rel_stepsize=0.4, restarts=2),
        "fgsm": fgsm,
        "noise": noise,
    }.items()
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_stays_in_its_ball_and_in_the_pixel_range(name, model, batch):
    norm, make = ATTACKS[name]
    attacked, broken = make(model, norm)(*batch, IDS, EPSILONS[norm])
    change = (attacked - batch[0]).flatten(1)
    lengths = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert float(lengths.max()) <= EPSILONS[norm] * (1 + 1e-5)
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    assert torch.equal(broken, model(attacked).argmax(dim=1) != batch[1])


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_do_not_depend_on_batching(name, model, batch):
    norm, make = ATTACKS[name]
    pixels, targets = batch
    attack = make(model, norm)
    whole, _ = attack(pixels, targets, IDS, EPSILONS[norm])
    torch.manual_seed(99)  # The global generator is nothing to it.
    order = [7, 2, 11, 0, 5]
    parts = [attack(pixels[i : i + 1], targets[i : i + 1], [IDS[i]], EPSILONS[norm])[0] for i in order]
    torch.testing.assert_close(torch.cat(parts), whole[order], rtol=0, atol=2e-5)


def by_hand(model, pixels, targets, starts, epsilon, steps, share):
    """Madry's L∞ attack as a plain loop."""
    attacked = (pixels + epsilon * starts).clamp(0, 1)
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        nn.functional.cross_entropy(model(attacked), targets, reduction="sum").backward()
        attacked = attacked.detach() + share * epsilon * attacked.grad.sign()
        attacked = (pixels + (attacked - pixels).clamp(-epsilon, epsilon)).clamp(0, 1)
    return attacked


def test_pgd_is_madrys_loop(model, batch):
    pixels, targets = batch
    attacked, _ = pgd(model, "linf", steps=7, rel_stepsize=0.3, seed=5)(pixels, targets, IDS, 4 / 255)
    starts = start_noise(pixels, IDS, "linf", 5, 0)
    expected = by_hand(model, pixels, targets, starts, 4 / 255, 7, 0.3)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


def test_fgsm_is_one_signed_step(model, batch):
    pixels, targets = batch
    attacked, _ = fgsm(model, "linf")(pixels, targets, IDS, 4 / 255)
    expected = by_hand(model, pixels, targets, torch.zeros_like(pixels), 4 / 255, 1, 1.0)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


def test_starts_depend_on_seed_restart_and_id_only(batch):
    pixels = batch[0][:2]
    first = start_noise(pixels, IDS[:2], "linf", 0, 0)
    assert torch.equal(first, start_noise(pixels, IDS[:2], "linf", 0, 0))
    for other in (start_noise(pixels, IDS[:2], "linf", 1, 0), start_noise(pixels, IDS[:2], "linf", 0, 1)):
        assert not torch.allclose(first, other)
    assert torch.equal(first.flip(0), start_noise(pixels, IDS[1::-1], "linf", 0, 0))


@pytest.mark.parametrize("norm", EPSILONS)
def test_starts_lie_in_the_unit_ball(norm):
    drawn = start_noise(torch.zeros(200, 3, 4, 4), [str(i) for i in range(200)], norm, 0, 0).flatten(1)
    lengths = drawn.abs().amax(dim=1) if norm == "linf" else drawn.norm(dim=1)
    assert 0.9 < float(lengths.max()) <= 1 + 1e-6
    assert abs(float(drawn.mean())) < 0.01


def test_deepfool_finds_the_distance_to_a_plane():
    """With two classes and a linear model the smallest perturbation is known: margin / |w|."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).requires_grad_(False).eval()
    pixels = 0.5 + 0.05 * torch.rand(6, 3, 4, 4)
    logits = linear(pixels)
    weight = linear[1].weight
    margins = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).norm()
    distances = deepfool_distances(linear, pixels, logits.argmax(dim=1))
    np.testing.assert_allclose(distances, margins.numpy(), rtol=0.03)  # foolbox overshoots by 2 %.


def test_deepfool_is_infinite_where_no_perturbation_changes_the_class():
    constant = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).requires_grad_(False).eval()
    constant[1].weight.zero_()
    constant[1].bias.copy_(torch.tensor([1.0, 0.0]))
    assert np.isinf(
        deepfool_distances(constant, torch.rand(2, 3, 2, 2), torch.zeros(2, dtype=torch.long))
    ).all()


def test_frozen_parameters_get_no_gradients(model, batch):
    pgd(model, "linf", steps=1, rel_stepsize=1.0)(*batch, IDS, 1 / 255)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_classifier_with_a_saturated_softmax_is_attacked_as_well(model, batch):
    """Times 1e4 its softmax is exactly 1, and the gradient of its cross-entropy exactly 0."""

    class Sure(nn.Module):
        def forward(self, pixels):
            return 1e4 * model(pixels)

    pixels, targets = batch
    _, of_model = pgd(model, "linf", steps=5, rel_stepsize=0.25)(pixels, targets, IDS, 8 / 255)
    _, of_sure = pgd(Sure().eval(), "linf", steps=5, rel_stepsize=0.25)(pixels, targets, IDS, 8 / 255)
    assert int(of_sure.sum()) >= int(of_model.sum()) > 0


def test_attacks_can_be_imported_without_git(tmp_path):
    command = [sys.executable, "-c", "import raybench.perturbations.attacks"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
