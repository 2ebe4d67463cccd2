"""APGD on a small network and on a backbone that ships with raybench, compared with torchattacks' APGD."""

import math

import pytest
import torch
import torchattacks
from torch import nn

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.datasets import find_dataset
from raybench.data.batches import batches
from raybench.data.loading import load_dataset
from raybench.perturbations import apgd as module
from raybench.perturbations.apgd import apgd, check_steps, dlr_loss, in_sequence
from raybench.perturbations.attacks import pgd

NUM = 12
IDS = [f"image-{i}" for i in range(NUM)]
EPSILONS = {"linf": 4 / 255, "l2": 0.5}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(8 * 7 * 7, 5)]
    return nn.Sequential(*layers).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def batch(model):
    pixels = torch.rand(NUM, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return pixels, model(pixels).argmax(dim=1)


@pytest.fixture(scope="module")
def mini():
    """Classifier by class means of frozen features of digits; 128 test images that it recognises."""
    dataset = load_dataset(find_dataset("digits_10shot")).unlocked()
    backbone = load_backbone(find_backbone("mini_resnet.supervised")).freeze()

    def features(split):
        pixels = torch.cat(list(batches(dataset.split(split), backbone.preprocessing, 64)))
        with torch.no_grad():
            return pixels, torch.cat([backbone(part) for part in pixels.split(64)])

    targets = torch.tensor(dataset.train.targets)
    one_hot = torch.eye(10)[targets]
    train = features("train")[1]
    gram = train.T @ train + 1e-2 * torch.eye(train.shape[1])
    head = nn.Linear(train.shape[1], 10, bias=False)
    head.weight = nn.Parameter((torch.linalg.solve(gram, train.T @ one_hot) * 5).T)
    classifier = nn.Sequential(backbone, head).requires_grad_(False).eval()
    pixels, of_test = features("test")
    labels = torch.tensor(dataset.test.targets)
    rows = (head(of_test).argmax(dim=1) == labels).nonzero()[:, 0][:128]
    return classifier, pixels[rows], labels[rows]


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 1 / 255), ("l2", 0.2)])
def test_robust_accuracy_is_that_of_torchattacks(mini, norm, epsilon, loss):
    classifier, pixels, labels = mini
    theirs = torchattacks.APGD(
        classifier, norm={"linf": "Linf", "l2": "L2"}[norm], eps=epsilon, steps=20, loss=loss
    )
    expected = (classifier(theirs(pixels, labels)).argmax(dim=1) == labels).sum()
    attack = apgd(classifier, norm, loss, steps=20)
    _, is_wrong = attack(pixels, labels, list(map(str, range(len(labels)))), epsilon)
    assert 0 < int(is_wrong.sum()) < len(labels)
    assert abs(int((~is_wrong).sum()) - int(expected)) <= 2


@pytest.fixture
def doubles():
    """float64 by default: torchattacks stores losses in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 1 / 255), ("l2", 0.1)])
def test_from_the_same_start_the_attack_is_that_of_torchattacks(norm, epsilon, loss, monkeypatch, doubles):
    """In float64 the same images are broken, and the others end at the same pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(8 * 7 * 7, 5)]
    model = nn.Sequential(*layers).requires_grad_(False).eval()
    pixels = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    targets, ids = model(pixels).argmax(dim=1), [f"image-{i}" for i in range(64)]
    drawn = module.start_noise(pixels, ids, norm, 0, module.START_KEYS[loss]).double()
    their_norm = {"linf": "Linf", "l2": "L2"}[norm]
    theirs = torchattacks.APGD(model, norm=their_norm, eps=epsilon, steps=20, loss=loss)
    monkeypatch.setattr(module, "start_noise", lambda *arguments: drawn)
    monkeypatch.setattr(torch, "rand", lambda shape: (drawn + 1) / 2)
    monkeypatch.setattr(torch, "randn", lambda shape: drawn)
    best, is_right, _, _ = theirs.attack_single_run(pixels, targets)
    attacked, is_wrong = apgd(model, norm, loss, steps=20)(pixels, targets, ids, epsilon)
    assert 0 < int(is_wrong.sum()) < len(targets)
    assert torch.equal(is_wrong, ~is_right)
    torch.testing.assert_close(attacked[~is_wrong], best[~is_wrong], rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", EPSILONS)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_attacked_images_stay_in_the_ball_and_in_the_pixel_range(norm, loss, model, batch):
    attacked, is_wrong = apgd(model, norm, loss, steps=10)(*batch, IDS, EPSILONS[norm])
    change = (attacked - batch[0]).flatten(1)
    lengths = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert float(lengths.max()) <= EPSILONS[norm] * (1 + 1e-5)
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1
    assert torch.equal(is_wrong, model(attacked).argmax(dim=1) != batch[1])


def test_the_attack_does_not_depend_on_batching(model, batch):
    pixels, targets = batch
    attack = apgd(model, "linf", "dlr", steps=10)
    _, whole = attack(pixels, targets, IDS, 1 / 255)
    order = [7, 2, 11, 0, 5]
    parts = [attack(pixels[i : i + 1], targets[i : i + 1], [IDS[i]], 1 / 255)[1] for i in order]
    assert torch.equal(torch.cat(parts), whole[order])


def by_formula(logits, target):
    first, _, third = sorted(logits, reverse=True)[:3]
    other = max(z for i, z in enumerate(logits) if i != target)
    return -(logits[target] - other) / (first - third)


@pytest.mark.parametrize("target", range(4))
def test_dlr_is_its_formula(target):
    logits = [1.0, 4.0, 2.5, 0.5]
    loss = dlr_loss(torch.tensor([logits]), torch.tensor([target]))
    assert float(loss) == pytest.approx(by_formula(logits, target))


def test_dlr_does_not_change_when_logits_are_shifted_or_scaled():
    logits, targets = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 6
    torch.testing.assert_close(dlr_loss(7 * logits + 3, targets), dlr_loss(logits, targets))


@pytest.mark.parametrize("steps", [100, 200, 1000])
def test_step_sizes_are_checked_where_the_paper_says(steps):
    """p0 = 0, p1 = 0.22, p(j+1) = p(j) + max(p(j) − p(j−1) − 0.03, 0.06); after ceil(p · steps) steps."""
    shares = [0.0, 0.22]
    while (share := shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)) <= 1 + 1e-9:
        shares.append(share)
    assert check_steps(steps) == [math.ceil(share * steps - 1e-6) for share in shares[1:]]


def test_the_step_size_starts_at_twice_the_radius_and_is_halved_where_the_loss_does_not_rise(monkeypatch):
    """On a flat loss every check of 20 steps (after 4, 7, 9, 10, 11, …) halves the step."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).requires_grad_(False).eval()
    flat[1].weight.zero_()
    flat[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    sizes, inner = [], module._next_pixels

    def spy(current, previous, ball, step_size, *, is_first):
        sizes.append(float(step_size[0]))
        return inner(current, previous, ball, step_size, is_first=is_first)

    monkeypatch.setattr(module, "_next_pixels", spy)
    targets = torch.zeros(1, dtype=torch.long)
    _, is_wrong = apgd(flat, "linf", "ce", steps=20)(torch.rand(1, 3, 2, 2), targets, ["a"], 0.5)
    assert not is_wrong.any()
    checks = check_steps(20)
    assert checks[:4] == [4, 7, 9, 10]
    assert sizes == [2 * 0.5 / 2 ** sum(check < step for check in checks) for step in range(1, 21)]


def test_with_equal_steps_it_breaks_no_fewer_images_than_fixed_steps(mini):
    classifier, pixels, labels = mini
    ids = list(map(str, range(len(labels))))
    _, fixed = pgd(classifier, "linf", steps=20, rel_stepsize=0.125)(pixels, labels, ids, 1 / 255)
    both = in_sequence([apgd(classifier, "linf", loss, steps=20) for loss in ("ce", "dlr")])
    _, adaptive = both(pixels, labels, ids, 1 / 255)
    assert int(adaptive.sum()) >= int(fixed.sum())


def test_a_sequence_breaks_what_any_of_its_attacks_breaks(model, batch):
    pixels, targets = batch
    singles = [apgd(model, "linf", loss, steps=5) for loss in ("ce", "dlr")]
    by_single = [attack(pixels, targets, IDS, 1 / 255)[1] for attack in singles]
    attacked, is_wrong = in_sequence(singles)(pixels, targets, IDS, 1 / 255)
    assert torch.equal(is_wrong, by_single[0] | by_single[1])
    assert torch.equal(is_wrong, model(attacked).argmax(dim=1) != targets)


def test_dlr_attacks_a_classifier_with_a_saturated_softmax(model, batch):
    class Sure(nn.Module):
        def forward(self, pixels):
            return 1e4 * model(pixels)

    pixels, targets = batch
    _, of_model = apgd(model, "linf", "dlr", steps=10)(pixels, targets, IDS, 1 / 255)
    _, of_sure = apgd(Sure().eval(), "linf", "dlr", steps=10)(pixels, targets, IDS, 1 / 255)
    assert torch.equal(of_model, of_sure)
    assert of_model.any()
