"""The optimiser of fine-tuning against AdamW written out by hand."""

import copy
import math

import numpy as np
import pytest
import torch

from raybench.evaluation.finetune.optimizer import Optimizer, lr_factor
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training import new_classifier

CPU = torch.device("cpu")


@pytest.fixture
def model(context_at):
    return new_classifier(context_at("unused"), 0).eval()


def losses(model, num_steps, scale):
    """Losses with gradients of norm far above 5 (scale 1e4) or far below (scale 1e-2)."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_steps):
        pixels = torch.rand(4, 3, 32, 32, generator=generator)
        yield lambda pixels=pixels: scale * model(pixels).square().mean()


@pytest.mark.parametrize("scale", [1e4, 1e-2], ids=["clipped", "not clipped"])
def test_steps_are_adamws_with_clipped_gradients(context_at, model, scale):
    recipe = Recipe.from_hparams({"lr": 1e-2, "weight_decay": 0.1}, 1)  # One rate for all layers.
    twin = new_classifier(context_at("unused"), 0).eval()
    optimizer = Optimizer(model, recipe, CPU)
    first, second = ({name: torch.zeros_like(p) for name, p in twin.named_parameters()} for _ in range(2))
    norms = []
    for step, (loss, twins_loss) in enumerate(
        zip(losses(model, 4, scale), losses(twin, 4, scale), strict=True), start=1
    ):
        optimizer.step([loss()], lr_factor(step / 5))
        parameters = dict(twin.named_parameters())
        gradients = torch.autograd.grad(twins_loss(), list(parameters.values()))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        norms.append(norm)
        lr = 1e-2 * lr_factor(step / 5)
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            gradient = gradient * min(1.0, 5.0 / (norm + 1e-6))
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient.square()
            decay = 0.1 if parameter.ndim > 1 else 0.0
            update = (first[name] / (1 - 0.9**step)) / ((second[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            parameter.data = parameter.data * (1 - lr * decay) - lr * update
    assert all(norm > 5 for norm in norms) if scale > 1 else all(norm < 5 for norm in norms)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, dict(twin.named_parameters())[name], rtol=1e-3, atol=1e-4)


def test_the_gradient_of_a_step_has_at_most_the_norm_5(model):
    optimizer = Optimizer(model, Recipe.from_hparams({"lr": 1e-3, "weight_decay": 0.0}, 1), CPU)
    optimizer.step([next(losses(model, 1, 1e4))()], 0.5)
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    assert norm == pytest.approx(5.0, rel=1e-4)


def test_lower_layers_get_smaller_rates(model):
    recipe = Recipe.from_hparams({"lr": 1.0, "weight_decay": 0.0, "layer_decay": 0.5}, 1)
    before = [p.detach().clone() for p in (model.head.weight, next(model.backbone.parameters()))]
    Optimizer(model, recipe, CPU).step([next(losses(model, 1, 1.0))()], 1.0)
    after = [p.detach() for p in (model.head.weight, next(model.backbone.parameters()))]
    # AdamW's first step moves every weight with a gradient by its learning rate.
    head, stem = (float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
    assert head == pytest.approx(1.0, rel=1e-2)
    assert stem <= 0.5 * head


def test_a_restored_optimiser_goes_on_with_the_same_bits(context_at, model):
    recipe = Recipe.from_hparams({"lr": 1e-2, "weight_decay": 0.1}, 1)
    optimizer = Optimizer(model, recipe, CPU)
    steps = list(losses(model, 2, 1.0))
    optimizer.step([steps[0]()], 1.0)
    twin = new_classifier(context_at("unused"), 1).eval()
    twin.load_state_dict(model.state_dict())
    resumed = Optimizer(twin, recipe, CPU)
    resumed.restore(*copy.deepcopy(optimizer.state()))
    optimizer.step([steps[1]()], 0.5)
    resumed.step([list(losses(twin, 2, 1.0))[1]()], 0.5)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_rate_warms_up_then_falls_to_zero():
    rates = [lr_factor(p) for p in np.linspace(0.001, 0.999, 101)]
    peak = int(np.argmax(rates))
    assert 8 <= peak <= 12
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4
