import pytest

from raybench.catalog.search_spaces import defaults
from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.finetune.recipe import Recipe

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
    assert (recipe.min_crop, recipe.flip, recipe.color_jitter, recipe.batch_size) == (0.5, False, 0.0, 64)
