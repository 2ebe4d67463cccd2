"""The whole recipe: resumption with every part on, accumulation, moving average, steps, statistics, LP-FT."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.finetune.protocol import finetune
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training import Training
from raybench.evaluation.linear_probe import LogisticRun
from raybench.features.store import FeatureStore

VIT = BackboneInfo(
    name="small_vit",
    timm="vit_tiny_patch16_224",
    kwargs={"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    weights="random",
    preprocessing={"input_size": 32},
)
"""A network without batch statistics."""
EVERYTHING = {
    **PROTOCOLS["finetune"].presets["paper"],
    "batch_size": 64,
    "micro_batch": 24,
    "epochs": 3,
    "warmup_epochs": 1.0,
    "color_jitter": 0.3,
    "ema": 0.9,
    "head_lr": 10.0,
    "clip_norm": 5.0,
    "freeze_batch_stats": True,
}


def with_vit(context):
    return replace(context, backbone_info=VIT)


def results_of(context, hparams, num_epochs=None):
    run = finetune(context, hparams, 0, 3)
    results = []
    for result in run.run_epochs():
        results.append(result)
        if len(results) == num_epochs:
            break
    return run, results


@pytest.mark.parametrize("num_before", [1, 2])
def test_with_every_part_on_a_resumed_run_ends_as_an_uninterrupted_one_to_the_last_bit(
    context_at, num_before
):
    whole, results = results_of(context_at("whole"), EVERYTHING)
    results_of(context_at("torn"), EVERYTHING, num_epochs=num_before)
    resumed, again = results_of(context_at("torn"), EVERYTHING)
    assert again == results
    assert np.array_equal(resumed.predict("val").logits, whole.predict("val").logits)


def test_one_epoch_of_the_papers_preset_runs(context_at):
    """Its batch is larger than the 200 digits: one step in two passes of 100."""
    run, results = results_of(context_at("paper"), PROTOCOLS["finetune"].presets["paper"], num_epochs=1)
    assert [result.epoch for result in results] == [1]
    assert run.predict("val").logits.shape == (100, 10)


def trained(context, num_epochs=1, **changes):
    recipe = Recipe.from_hparams({"lr": 1e-3, "weight_decay": 0.05, "layer_decay": 0.8, **changes}, 3)
    training = Training(context, recipe, 0)
    for epoch in range(1, num_epochs + 1):
        training.train_epoch(epoch)
    return training


def test_four_passes_of_16_equal_a_batch_of_64_without_batch_statistics(context_at):
    context = with_vit(context_at("unused"))
    parts = {"batch_size": 64, "steps": 1, "rand_augment_layers": 2, "mixup": 0.8, "erasing": 0.25}
    whole, accumulated = trained(context, **parts), trained(context, **parts, micro_batch=16)
    num_compared = 0
    for one, other in zip(whole.model.parameters(), accumulated.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)
        # AdamW's first step divides by the gradient's size: where that is rounding, so is the step.
        is_clear = one.grad.abs() > 1e-4
        num_compared += int(is_clear.sum())
        torch.testing.assert_close(one[is_clear], other[is_clear], rtol=1e-5, atol=1e-6)
    assert num_compared > 1000


def test_passes_differ_by_one_image_and_their_losses_add_up_to_the_batchs(context_at):
    context = with_vit(context_at("unused"))
    training = trained(context, num_epochs=0, batch_size=50, micro_batch=16)
    training.model.eval()
    pixels = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 10
    sizes = []
    inner = training._loss
    training._loss = lambda part, labels: sizes.append(len(part)) or inner(part, labels)
    total = sum(float(loss.detach()) for loss in training._losses(pixels, targets))
    assert sizes == [13, 13, 12, 12]
    assert total == pytest.approx(float(inner(pixels, targets).detach()), rel=1e-5)


def test_the_moving_average_by_hand(context_at):
    context = with_vit(context_at("unused"))
    weights = []
    training = trained(context, num_epochs=0, batch_size=64, ema=0.7)
    inner = training._optimizer.step

    def step(losses, factor):
        value = inner(losses, factor)
        weights.append(training.model.head.weight.detach().clone())
        return value

    training._optimizer.step = step
    training.train_epoch(1)
    average = weights[0]
    for later in weights[1:]:
        average = 0.7 * average + 0.3 * later
    assert len(weights) == 4
    torch.testing.assert_close(training.measured_model.head.weight.detach(), average)
    assert not torch.equal(training.measured_model.head.weight, training.model.head.weight)


def test_a_limit_of_steps_ends_training_within_an_epoch_and_shortens_the_schedule(context_at):
    """200 images in batches of 50: 6 steps are an epoch and a half."""
    training = trained(context_at("unused"), num_epochs=0, batch_size=50, steps=6, warmup_epochs=0.0)
    factors = []
    training._optimizer.step = lambda losses, factor: factors.append(factor) or 0.0
    assert training.last_epoch == 2
    for epoch in (1, 2):
        training.train_epoch(epoch)
    cosine = [0.5 * (1 + math.cos(math.pi * (step + 0.5) / 6)) for step in range(6)]
    assert factors == pytest.approx(cosine)


def test_more_steps_than_the_epochs_hold_change_nothing(context_at):
    assert trained(context_at("unused"), num_epochs=0, steps=10_000).last_epoch == 3


def test_warm_up_in_epochs_from_a_start_value_and_cosine_to_a_floor_by_hand(context_at):
    """Four steps per epoch, two epochs of warm-up from 0.1, then four steps from 1 to 0.01."""
    changes = {"warmup_epochs": 2.0, "warmup_start": 0.1, "lr_floor": 0.01}
    training = trained(context_at("unused"), num_epochs=0, batch_size=50, **changes)
    factors = []
    training._optimizer.step = lambda losses, factor: factors.append(factor) or 0.0
    for epoch in (1, 2, 3):
        training.train_epoch(epoch)
    warm = [0.1 + 0.9 * (step + 0.5) / 8 for step in range(8)]
    cold = [0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step + 0.5) / 4)) for step in range(4)]
    assert factors == pytest.approx(warm + cold)


@pytest.mark.parametrize("is_frozen", [True, False], ids=["frozen", "updated"])
def test_batch_statistics_are_kept_where_they_are_frozen_and_weights_are_trained(context_at, is_frozen):
    before = trained(context_at("unused"), num_epochs=0).model.state_dict()
    after = trained(context_at("unused"), freeze_batch_stats=is_frozen).model.state_dict()
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(torch.equal(before[name], after[name]) == is_frozen for name in statistics)
    assert not torch.equal(before["backbone.model.conv1.0.weight"], after["backbone.model.conv1.0.weight"])


def groups_of(training):
    names = {id(parameter): name for name, parameter in training.model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in training._optimizer._adamw.param_groups
        for parameter in group["params"]
    }


def test_biases_norms_and_position_embeddings_have_no_weight_decay(context_at):
    training = trained(with_vit(context_at("unused")), num_epochs=0)
    decay = {name: weight_decay for name, (_, weight_decay) in groups_of(training).items()}
    excluded = {name for name in decay if name.endswith(("bias", "pos_embed", "cls_token")) or "norm" in name}
    assert {name for name, value in decay.items() if value == 0} == excluded
    assert "backbone.model.pos_embed" in excluded
    assert set(decay.values()) == {0.0, 0.05}


def test_the_heads_rate_is_a_multiple_and_the_backbones_stays(context_at):
    plain = groups_of(trained(context_at("unused"), num_epochs=0))
    fast = groups_of(trained(context_at("unused"), num_epochs=0, head_lr=10.0))
    for name in plain:
        assert fast[name][0] == pytest.approx(plain[name][0] * (10 if name.startswith("head") else 1))


def test_a_norm_limit_of_zero_does_not_clip(context_at):
    training = trained(context_at("unused"), num_epochs=0, clip_norm=0.0)
    training._optimizer.step([1e4 * training.model(torch.rand(2, 3, 32, 32)).square().mean()], 0.0)
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in training.model.parameters()))
    assert norm > 5


def test_label_smoothing_is_the_recipes(context_at):
    training = trained(context_at("unused"), num_epochs=0, label_smoothing=0.0)
    training.model.eval()
    pixels, targets = torch.rand(4, 3, 32, 32), torch.tensor([1, 2, 3, 4])
    expected = torch.nn.functional.cross_entropy(training.model(pixels), targets)
    assert torch.equal(training._loss(pixels, targets), expected)


def test_a_linear_probes_head_gives_the_probes_classes_before_training(context_at, tmp_path):
    """Before any step, the network classifies the training images as the probe does, far above chance."""
    context = replace(context_at("unused"), store=FeatureStore(tmp_path / "features"))
    training = trained(context, num_epochs=0, head_init="linear_probe")
    before = training.model.head.weight.detach().clone()
    training.initialize_head()
    assert not torch.equal(training.model.head.weight, before)
    probe = LogisticRun(context, {"solver": "lbfgs", "feature_norm": "standardize"})
    for _ in probe.run_epochs():
        pass
    expected = probe.predict("val").logits.argmax(axis=1)
    training.model.eval()
    _, logits = training.model.features_and_logits(
        context.dataset.val, 64, device=torch.device("cpu"), num_threads=1
    )
    assert int((logits.argmax(axis=1) == expected).sum()) >= 98
    assert int((logits.argmax(axis=1) == np.asarray(context.dataset.val.targets)).sum()) > 20


def test_xaviers_head_has_its_deviation_and_follows_from_the_seed(context_at):
    first, again = (trained(context_at("unused"), num_epochs=0, head_init="xavier") for _ in range(2))
    for training in (first, again):
        training.initialize_head()
    weight = first.model.head.weight.detach()
    assert torch.equal(weight, again.model.head.weight)
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / sum(weight.shape)), rel=0.15)
