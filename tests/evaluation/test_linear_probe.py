import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from raybench.catalog.search_spaces import LINEAR_PROBE_GRIDS
from raybench.core.errors import DivergedError, SplitLockedError
from raybench.evaluation.feature_norm import FeatureNorm
from raybench.evaluation.linear_probe import linear_probe
from raybench.evaluation.packed_heads import PackedHeads

EPOCHS = 6
GRADIENT = {"solver": "sgd", "feature_norm": "standardize", "batch_size": 256, "epochs": EPOCHS}
SOLVERS = [GRADIENT, {**GRADIENT, "solver": "adamw"}, {"solver": "lbfgs", "feature_norm": "standardize"}]
IDS = ["sgd", "adamw", "lbfgs"]


def run(context, hparams, seed=0):
    fitted = linear_probe(context, hparams, seed, EPOCHS)
    return fitted, list(fitted.run_epochs())


def best_of(results):
    best = None
    for result in results:
        best = result if result.is_better(best, "accuracy") else best
    return best


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_digits_are_recognised(context_of, digits, hparams):
    _, results = run(context_of(digits), hparams)
    assert best_of(results).metrics["accuracy"] > 0.9
    assert set(results[0].metrics) == {"accuracy", "top5_accuracy", "mean_class_accuracy", "nll"}


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_the_chosen_head_trained_alone_equals_its_column_in_the_grid(context_of, digits, hparams):
    context = context_of(digits)
    packed, results = run(context, hparams)
    chosen = best_of(results).chosen
    alone, alone_results = run(context, {**hparams, **chosen})
    # Products of 10 and of 520 columns are summed in another order, so not to the last bit.
    np.testing.assert_allclose(
        alone.predict("val").logits, packed.predict("val").logits, rtol=1e-3, atol=1e-3
    )
    assert alone_results[-1].chosen == chosen
    assert alone_results[-1].grid == ()


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_the_same_seed_gives_the_same_last_bit(context_of, digits, hparams):
    context = context_of(digits)
    (first, results), (second, again) = run(context, hparams), run(context, hparams)
    assert results == again
    assert np.array_equal(first.predict("val").logits, second.predict("val").logits)


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_predictions_are_those_of_the_best_epoch(context_of, digits, hparams):
    fitted, results = run(context_of(digits), hparams)
    predictions = fitted.predict("val")
    num_correct = int((predictions.logits.argmax(axis=1) == predictions.targets).sum())
    assert num_correct / 400 == best_of(results).metrics["accuracy"]


@pytest.mark.parametrize("hparams", SOLVERS, ids=IDS)
def test_test_can_be_read_in_the_final_stage_only(context_of, digits, hparams):
    locked, _ = run(context_of(digits), hparams)
    with pytest.raises(SplitLockedError, match="locked"):
        locked.predict("test")
    unlocked, _ = run(context_of(digits, is_unlocked=True), hparams)
    predictions = unlocked.predict("test")
    assert predictions.logits.shape == (397, 10)
    assert predictions.logits.dtype == np.float32
    assert predictions.ids[0] == "test/0"


def test_a_search_does_not_depend_on_test(context_of, digits):
    _, results = run(context_of(digits), GRADIENT)
    other = {**digits, "test": (np.full((5, 64), 1e9, np.float32), np.arange(5))}
    assert run(context_of(other), GRADIENT)[1] == results


CELL = {"lr": 0.05, "weight_decay": 0.01}


@pytest.mark.parametrize("solver", ["sgd", "adamw", None], ids=["sgd", "adamw", "default"])
def test_heads_are_those_of_torchs_optimisers(context_of, digits, solver):
    """The loop written out with `nn.Linear`, from the same start; without a solver it is AdamW."""
    hparams = {**GRADIENT, **CELL, "epochs": 2, "solver": solver}
    if solver is None:
        del hparams["solver"]
    fitted, _ = run(context_of(digits), hparams, seed=3)
    norm = FeatureNorm.fit("standardize", digits["train"][0])
    features, val = (norm.apply(torch.tensor(digits[name][0])) for name in ("train", "val"))
    targets = torch.tensor(digits["train"][1])
    start = PackedHeads(64, 10, [(0.05, 0.01)], solver="sgd", seed=3, device=torch.device("cpu")).head(0)
    layer = torch.nn.Linear(64, 10)
    layer.weight.data, layer.bias.data = start[:-1].T.contiguous(), start[-1].clone()
    groups = [
        {"params": [layer.weight], "weight_decay": 0.01},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimizer = (
        torch.optim.SGD(groups, lr=0.05, momentum=0.9)
        if solver == "sgd"
        else torch.optim.AdamW(groups, lr=0.05)
    )
    for epoch in (1, 2):
        order = torch.from_numpy(np.random.default_rng((3, epoch)).permutation(1000))
        for step, batch in enumerate(order.split(256)):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * (epoch - 1 + step / 4) / 2))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(features[batch]), targets[batch]).backward()
            optimizer.step()
    expected = layer(val).detach().numpy()
    np.testing.assert_allclose(fitted.predict("val").logits, expected, rtol=1e-3, atol=1e-3)


def test_the_order_of_minibatches_follows_from_seed_and_epoch(context_of, digits, monkeypatch):
    seen = []
    inner = PackedHeads.step
    monkeypatch.setattr(
        PackedHeads,
        "step",
        lambda self, features, targets, lr_factor: (
            seen.extend(targets.tolist()) or inner(self, features, targets, lr_factor)
        ),
    )
    context, hparams = context_of(digits), {**GRADIENT, **CELL, "epochs": 2}
    epochs = []
    for seed in (0, 1, 0):
        run(context, hparams, seed)
        epochs += [seen[:1000], seen[1000:]]
        seen.clear()
    assert all(sorted(epoch) == sorted(digits["train"][1]) for epoch in epochs)
    first, second, other_first, other_second, *again = epochs
    assert again == [first, second]
    assert len({tuple(epoch) for epoch in (first, second, other_first, other_second)}) == 4


def test_every_cell_of_the_grid_is_reported_with_its_accuracy(context_of, digits):
    _, results = run(context_of(digits), GRADIENT)
    assert len(results[-1].grid) == 52
    best = max(cell["accuracy"] for cell in results[-1].grid)
    assert best == results[-1].metrics["accuracy"]


def test_a_best_cell_on_an_edge_of_the_grid_is_reported(context_of, digits):
    _, results = run(context_of(digits), {**GRADIENT, "solver": "adamw"})
    for result in results:
        rates = sorted({cell["lr"] for cell in result.grid})
        on_edge = result.chosen["lr"] in (rates[0], rates[-1])
        assert ("lr" in result.edges) == on_edge


def test_a_chosen_epoch_ends_training_without_shortening_the_schedule(context_of, digits):
    context, cell = context_of(digits), {"lr": 0.1, "weight_decay": 0.0}
    _, whole = run(context, {**GRADIENT, **cell})
    _, stopped = run(context, {**GRADIENT, **cell, "epoch": 3})
    assert stopped == whole[:3]


def test_epochs_are_capped_by_the_budget(context_of, digits):
    hparams = {**GRADIENT, "epochs": 100, "lr": 0.1, "weight_decay": 0.0}
    assert len(run(context_of(digits), hparams)[1]) == EPOCHS


def test_the_regularisation_path_ends_before_the_weakest_strength(context_of, digits):
    _, (result,) = run(context_of(digits), SOLVERS[2])
    assert 8 < len(result.grid) < len(LINEAR_PROBE_GRIDS["lbfgs"]["inverse_l2"])


def test_features_that_are_nan_end_as_diverged(context_of, digits):
    broken = {**digits, "train": (np.full_like(digits["train"][0], np.nan), digits["train"][1])}
    with pytest.raises(DivergedError, match="all 52 heads diverged"):
        run(context_of(broken), GRADIENT)


def test_one_example_per_class_is_enough(context_of, digits):
    features, targets = digits["train"]
    first = np.array([int(np.argmax(targets == c)) for c in range(10)])
    few = {**digits, "train": (features[first], targets[first])}
    _, results = run(context_of(few), GRADIENT)
    assert results[-1].metrics["accuracy"] > 0.3


def test_predicting_before_fitting_is_refused(context_of, digits):
    with pytest.raises(RuntimeError, match="iterate run_epochs"):
        linear_probe(context_of(digits), GRADIENT, 0, EPOCHS).predict("val")


@pytest.mark.parametrize("solver", ["adamw", "lbfgs"])
@pytest.mark.parametrize("objective", ["accuracy", "nll", "mean_class_accuracy"])
def test_head_and_epoch_are_chosen_by_the_objective_of_the_search(context_of, digits, solver, objective):
    context = replace(context_of(digits), objective=objective)
    fitted = linear_probe(context, {"solver": solver, "epochs": 3}, 0, 3)
    results = list(fitted.run_epochs())
    values = [cell[objective] for result in results for cell in result.grid]
    best = min(values) if objective == "nll" else max(values)
    assert fitted.report("val").metrics[objective] == pytest.approx(best, rel=1e-6)
