from dataclasses import replace

import pytest

from raybench.catalog.search_spaces import Choice, defaults
from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.finetune.recipe import Mixing, Recipe, Views

REQUIRED = {"lr": 1e-3, "weight_decay": 0.05}


@pytest.mark.parametrize(
    ("changes", "max_epochs", "schedule", "last"),
    [
        ({}, 7, 7, 7),
        ({"epochs": 3}, 7, 3, 3),
        ({"epochs": 30}, 7, 7, 7),
        ({"epoch": 2}, 7, 7, 2),
        ({"epochs": 5, "epoch": 9}, 7, 5, 5),
    ],
)
def test_a_budget_caps_the_schedule_and_a_chosen_epoch_only_ends_training(
    changes, max_epochs, schedule, last
):
    recipe = Recipe.from_hparams({**REQUIRED, **changes}, max_epochs)
    assert (recipe.epochs, recipe.last_epoch) == (schedule, last)


def test_every_hyperparameter_of_the_search_space_arrives():
    space = PROTOCOLS["finetune"].space
    hparams = {name: value / 2 for name, value in defaults(space).items()}
    recipe = Recipe.from_hparams(hparams, 5)
    assert {name: getattr(recipe, name) for name in space} == hparams


def test_defaults_augment_by_crops_only():
    recipe = Recipe.from_hparams(REQUIRED, 5)
    assert (recipe.views, recipe.mixing, recipe.batch_size) == (Views(), Mixing(), 64)
    assert not recipe.draws_per_example


def test_every_optional_hyperparameter_arrives():
    """Each at its largest value or last option, which is never the default."""
    optional = PROTOCOLS["finetune"].optional
    hparams = {
        name: dimension.options[-1] if isinstance(dimension, Choice) else dimension.high
        for name, dimension in optional.items()
    } | {"epochs": 7, "mix_probability": 0.2}
    recipe = Recipe.from_hparams({**REQUIRED, **hparams}, 100)
    for name, value in hparams.items():
        part = next(part for part in (recipe, recipe.views, recipe.mixing) if hasattr(part, name))
        assert getattr(part, name) == value != getattr(Recipe.from_hparams(REQUIRED, 100), name, None)


def test_defaults_of_the_catalogue_are_those_of_the_recipe():
    optional = PROTOCOLS["finetune"].optional
    stated = Recipe.from_hparams({**REQUIRED, **defaults(optional)}, 100)
    assert replace(stated, warmup_epochs=None) == Recipe.from_hparams(REQUIRED, 100)
    assert stated.warmup_epochs == 0.1 * stated.epochs


def test_every_optional_number_has_limits_that_contain_its_range():
    info = PROTOCOLS["finetune"]
    for name, dimension in info.optional.items():
        if not isinstance(dimension, Choice):
            low, high = info.limits[name]
            assert low <= dimension.low <= dimension.high <= high


def test_the_papers_preset_is_its_released_configuration():
    """Values of convnext_b_im1k_ft.yaml and 23 others, read by hand."""
    recipe = Recipe.from_hparams(PROTOCOLS["finetune"].presets["paper"], 100)
    assert (recipe.lr, recipe.weight_decay, recipe.layer_decay, recipe.drop_path) == (1e-3, 0.05, 0.75, 0.1)
    assert (recipe.batch_size, recipe.epochs, recipe.warmup_epochs) == (1024, 100, 5)
    assert recipe.lr * recipe.warmup_start == pytest.approx(1e-4)
    assert recipe.lr * recipe.lr_floor == pytest.approx(1e-6)
    assert (recipe.label_smoothing, recipe.clip_norm, recipe.ema, recipe.head_lr) == (0.1, 0, 0, 1)
    views = recipe.views
    assert (views.min_crop, views.flip, views.erasing, views.random_interpolation) == (0.08, True, 0.25, True)
    assert (views.rand_augment_layers, views.rand_augment_magnitude, views.rand_augment_std) == (2, 9, 0.5)
    assert recipe.mixing == Mixing(mixup=0.8, cutmix=1.0, cutmix_share=0.5, mix_probability=1.0)
