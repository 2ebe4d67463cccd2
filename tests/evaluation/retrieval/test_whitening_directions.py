"""The number of whitened directions: chosen on val in a search trial, bounded by the training images."""

import numpy as np
import pytest

from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DataError
from raybench.evaluation.retrieval.protocol import retrieval

WHITE = {**PROTOCOLS["retrieval"].presets["paper"], "normalisation": "pca_whiten"}
SIGNAL = 8


@pytest.fixture(scope="module")
def few():
    """Ten classes along 8 directions and noise along 88 more, with 6 training images a class."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, SIGNAL)) * 3

    def drawn(per_class):
        targets = np.repeat(np.arange(10), per_class)
        signal = centres[targets] + rng.normal(size=(len(targets), SIGNAL))
        noise = rng.normal(size=(len(targets), 96 - SIGNAL)) * 0.5
        return np.concatenate([signal, noise], axis=1).astype(np.float32), targets

    return {"train": drawn(6), "val": drawn(20), "test": drawn(20)}


def search(context):
    run = retrieval(context, WHITE, 0, 1)
    (result,) = run.run_epochs()
    return run, result


def map_of(context, split="val", **hparams):
    return retrieval(context, {**WHITE, **hparams}, 0, 1).report(split).metrics["map"]


def test_a_search_trial_keeps_the_directions_that_are_best_on_val(context_of, few):
    context = context_of(few)
    _, result = search(context)
    assert result.chosen["whitening_directions"] == SIGNAL
    assert {cell["whitening_directions"] for cell in result.grid} == {8, 16, 32, "all"}  # 60 images span 59.
    for cell in result.grid:
        directions = cell["whitening_directions"]
        assert cell["map"] == map_of(context, whitening_directions=directions)
    assert result.metrics["map"] == max(cell["map"] for cell in result.grid)
    assert result.metrics["map"] > 1.3 * map_of(context, whitening_directions="all")


def test_the_final_stage_measures_what_was_chosen_to_the_last_bit(context_of, few):
    run, result = search(context_of(few))
    final = context_of(few, is_unlocked=True)
    chosen = {k: v for k, v in result.chosen.items() if k != "epoch"}
    again = retrieval(final, {**WHITE, **chosen}, 0, 1)
    (repeated,) = again.run_epochs()
    assert repeated.metrics == result.metrics == run.report("val").metrics
    assert repeated.grid == ()
    assert again.report("test").metrics["map"] > map_of(final, "test", whitening_directions="all")


def test_a_recipe_that_names_no_number_keeps_all_directions_as_before(context_of, few):
    context = context_of(few, is_unlocked=True)
    (result,) = retrieval(context, WHITE, 0, 1).run_epochs()
    assert result.metrics["map"] == map_of(context, whitening_directions="all")
    assert result.chosen == {"epoch": 1}


@pytest.mark.parametrize("directions", [60, 1024])
def test_more_directions_than_the_training_images_span_are_refused(context_of, few, directions):
    with pytest.raises(DataError, match=rf"cannot keep {directions} directions: the training images span 59"):
        map_of(context_of(few), whitening_directions=directions)


def test_other_normalisations_have_nothing_to_choose(context_of, few):
    (result,) = retrieval(context_of(few), {**WHITE, "normalisation": "l2"}, 0, 1).run_epochs()
    assert result.grid == ()
    assert result.chosen == {"epoch": 1}
