"""raybench's PGD (starts from example ids, guard against saturation) against a bare foolbox loop."""

import foolbox
import torch
from foolbox.attacks import LinfProjectedGradientDescentAttack

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.evaluation.classifier import Classifier
from raybench.perturbations.attacks import pgd
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio

EPSILON = 1 / 255
REL_STEPSIZE = 0.125
NUM_CLASSES = 10


def measure(quick: bool) -> list[Ratio]:
    num_images, steps, rounds = (16, 5, 1) if quick else (32, 20, 5)
    backbone = load_backbone(find_backbone("mini_resnet.supervised"))
    generator = torch.Generator().manual_seed(0)
    size = backbone.preprocessing.input_size
    pixels = torch.rand(num_images, 3, size, size, generator=generator)
    with torch.no_grad():
        width = backbone(pixels[:1]).shape[1]
    torch.manual_seed(0)
    model = Classifier(backbone, torch.nn.Linear(width, NUM_CLASSES)).freeze()
    with torch.no_grad():
        targets = model(pixels).argmax(dim=1)
    ids = [f"image-{i}" for i in range(num_images)]
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")

    def bare(random_start: bool) -> torch.Tensor:
        attack = LinfProjectedGradientDescentAttack(
            steps=steps, rel_stepsize=REL_STEPSIZE, random_start=random_start
        )
        return attack(wrapped, pixels, targets, epsilons=EPSILON)[1]

    def ours(random_start: bool) -> torch.Tensor:
        attack = pgd(model, "linf", steps=steps, rel_stepsize=REL_STEPSIZE, random_start=random_start)
        return attack(pixels, targets, ids, EPSILON)[0]

    difference = float((bare(False) - ours(False)).abs().max())
    spent = in_turn({"ours": lambda: ours(True), "theirs": lambda: bare(True)}, rounds)
    return [
        Ratio(
            name="L∞ PGD",
            ours="pgd, starts from example ids",
            theirs="bare foolbox loop",
            target=1 / 0.9,
            measured=spent["ours"] / spent["theirs"],
            gate=f"without random start, results differ by at most {difference:.1e}",
            is_gate_passed=difference <= 1e-6,
            numbers={f"{side}_cpu_seconds": value for side, value in spent.items()},
        )
    ]
