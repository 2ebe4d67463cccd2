import numpy as np
import pytest

from raybench.catalog.search_spaces import LINEAR_PROBE_GRIDS
from raybench.core.errors import DivergedError, SplitLockedError
from raybench.evaluation.linear_probe import linear_probe

EPOCHS = 6
GRADIENT = {"solver": "sgd", "feature_norm": "standardize", "batch_size": 256, "epochs": EPOCHS}
SOLVERS = [GRADIENT, {**GRADIENT, "solver": "adamw"}, {"solver": "lbfgs", "feature_norm": "standardize"}]
IDS = ["sgd", "adamw", "lbfgs"]


def run(context, hparams, seed=0):
    started = linear_probe(context, hparams, seed, EPOCHS)
    return started, list(started.run_epochs())


def best_of(rungs):
    best = None
    for rung in rungs:
        best = rung if rung.is_better(best, "accuracy") else best
    return best


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_digits_are_recognised(context_of, digits, hparams):
    _, rungs = run(context_of(digits), hparams)
    assert best_of(rungs).metrics["accuracy"] > 0.9
    assert set(rungs[0].metrics) == {"accuracy", "top5_accuracy", "mean_class_accuracy", "nll"}


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_the_chosen_head_trained_alone_equals_its_column_in_the_grid(context_of, digits, hparams):
    context = context_of(digits)
    packed, rungs = run(context, hparams)
    chosen = best_of(rungs).chosen
    alone, alone_rungs = run(context, {**hparams, **chosen})
    # Products of 10 and of 520 columns are summed in another order, so not to the last bit.
    np.testing.assert_allclose(
        alone.predict("val").logits, packed.predict("val").logits, rtol=1e-3, atol=1e-3
    )
    assert alone_rungs[-1].chosen == chosen
    assert alone_rungs[-1].grid == ()


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_the_same_seed_gives_the_same_last_bit(context_of, digits, hparams):
    context = context_of(digits)
    (first, rungs), (second, again) = run(context, hparams), run(context, hparams)
    assert rungs == again
    assert np.array_equal(first.predict("val").logits, second.predict("val").logits)


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_what_it_predicts_is_what_its_best_rung_reported(context_of, digits, hparams):
    started, rungs = run(context_of(digits), hparams)
    found = started.predict("val")
    share = float((found.logits.argmax(axis=1) == found.targets).mean())
    assert share == best_of(rungs).metrics["accuracy"]


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_test_cannot_be_read_while_locked_and_can_in_the_final_stage(context_of, digits, hparams):
    locked, _ = run(context_of(digits), hparams)
    with pytest.raises(SplitLockedError, match="locked"):
        locked.predict("test")
    opened, _ = run(context_of(digits, is_unlocked=True), hparams)
    found = opened.predict("test")
    assert found.logits.shape == (397, 10)
    assert found.logits.dtype == np.float32
    assert found.ids[0] == "test/0"


def test_the_search_is_blind_to_the_content_of_test(context_of, digits):
    _, rungs = run(context_of(digits), GRADIENT)
    other = {**digits, "test": (np.full((5, 64), 1e9, np.float32), np.arange(5))}
    assert run(context_of(other), GRADIENT)[1] == rungs


def test_every_cell_of_the_grid_is_reported_with_its_accuracy(context_of, digits):
    _, rungs = run(context_of(digits), GRADIENT)
    assert len(rungs[-1].grid) == 52
    best = max(cell["accuracy"] for cell in rungs[-1].grid)
    assert best == rungs[-1].metrics["accuracy"]


def test_a_best_cell_on_the_edge_of_the_grid_is_said_so(context_of, digits):
    _, rungs = run(context_of(digits), {**GRADIENT, "solver": "adamw"})
    for rung in rungs:
        rates = sorted({cell["lr"] for cell in rung.grid})
        on_edge = rung.chosen["lr"] in (rates[0], rates[-1])
        assert ("lr" in rung.edges) == on_edge


def test_a_chosen_epoch_ends_training_without_shortening_the_schedule(context_of, digits):
    context, cell = context_of(digits), {"lr": 0.1, "weight_decay": 0.0}
    _, whole = run(context, {**GRADIENT, **cell})
    _, stopped = run(context, {**GRADIENT, **cell, "epoch": 3})
    assert stopped == whole[:3]


def test_epochs_are_capped_by_the_budget(context_of, digits):
    hparams = {**GRADIENT, "epochs": 100, "lr": 0.1, "weight_decay": 0.0}
    assert len(run(context_of(digits), hparams)[1]) == EPOCHS


def test_the_regularisation_path_ends_before_the_weakest_strength(context_of, digits):
    _, (rung,) = run(context_of(digits), SOLVERS[2])
    assert 8 < len(rung.grid) < len(LINEAR_PROBE_GRIDS["lbfgs"]["inverse_l2"])


def test_features_that_are_nan_end_as_diverged(context_of, digits):
    broken = {**digits, "train": (np.full_like(digits["train"][0], np.nan), digits["train"][1])}
    with pytest.raises(DivergedError, match="all 52 heads diverged"):
        run(context_of(broken), GRADIENT)


def test_one_example_per_class_is_enough(context_of, digits):
    features, targets = digits["train"]
    first = np.array([int(np.argmax(targets == c)) for c in range(10)])
    few = {**digits, "train": (features[first], targets[first])}
    _, rungs = run(context_of(few), GRADIENT)
    assert rungs[-1].metrics["accuracy"] > 0.3


def test_prediction_before_fitting_is_a_bug_with_a_sentence(context_of, digits):
    with pytest.raises(RuntimeError, match="iterate run_epochs"):
        linear_probe(context_of(digits), GRADIENT, 0, EPOCHS).predict("val")
