import itertools

import numpy as np
import pytest
import torch

from raybench.core.errors import DivergedError
from raybench.evaluation import halving, packed_heads
from raybench.evaluation.halving import Halving
from raybench.evaluation.linear_probe import linear_probe
from raybench.evaluation.outcomes import EpochResult
from raybench.evaluation.packed_grid import HeadScores
from raybench.evaluation.packed_heads import PackedHeads

CELLS = tuple({"lr": float(i)} for i in range(1, 9))
EPOCHS = 20
GRADIENT = {"feature_norm": "standardize", "batch_size": 64, "epochs": EPOCHS}
CPU = torch.device("cpu")


def scored(num_correct, nll=None):
    """Scores of heads that are right on so many of 10 examples of one class."""
    nll_sum = np.full(len(num_correct), 5.0) if nll is None else np.array(nll)
    return HeadScores(
        len(num_correct),
        num_examples=10,
        num_correct=np.array([num_correct]),
        num_true=np.array([10]),
        nll_sum=nll_sum,
    )


@pytest.fixture
def small_limit(monkeypatch):
    """Halve packs of more than 100 columns."""
    for module in (halving, packed_heads):
        monkeypatch.setattr(module, "SMALL_PACK", 100)


def run(context, hparams):
    probe = linear_probe(context, hparams, 0, EPOCHS)
    return probe, list(probe.run_epochs())


def best_of(results):
    best = None
    for result in results:
        best = result if result.is_better(best, "accuracy") else best
    return best


def test_a_rung_by_hand():
    """8 heads, 1,000 steps: 3 stay after 40 steps (3 % are fewer), and no later rung drops more."""
    pack = Halving(CELLS, num_classes=1_000, num_steps=1_000)
    assert [step for step in range(1, 1_001) if pack.is_due(step)] == [40, 80, 200, 450]
    assert pack.keep_best(40, scored([1, 9, 3, 8, 2, 7, 0, 4]), 0.3) == [1, 3, 5]
    assert [cell["lr"] for cell in pack.cells] == [2, 4, 6]
    assert not any(pack.is_due(step) for step in range(1_001))
    trained = tuple({**cell, "accuracy": 0.95} for cell in pack.cells)
    result = EpochResult(epoch=2, metrics={}, grid=trained)
    grid = pack.completed(result, "accuracy").grid
    assert [row["accuracy"] for row in grid] == [0.1, 0.95, 0.3, 0.95, 0.2, 0.95, 0.0, 0.4]
    assert [row["epoch"] for row in grid] == [0.3, 2, 0.3, 2, 0.3, 2, 0.3, 0.3]


def test_52_heads_shrink_to_20_10_5_and_3():
    cells = tuple({"lr": float(i)} for i in range(52))
    pack, sizes = Halving(cells, 100, 2_000), []
    for step in range(1, 2_001):
        if pack.is_due(step):
            pack.keep_best(step, scored([1] * len(pack.cells)), step / 100)
            sizes.append((step, len(pack.cells)))
    assert sizes == [(60, 20), (160, 10), (400, 5), (900, 3)]


def test_a_small_pack_stays_whole():
    pack = Halving(CELLS, num_classes=256, num_steps=1_000)
    result = EpochResult(epoch=1, metrics={}, grid=tuple({**cell, "accuracy": 0.5} for cell in CELLS))
    assert not any(pack.is_due(step) for step in range(1_001))
    assert pack.completed(result, "accuracy") is result


def test_diverged_heads_go_first_and_all_of_them_are_an_error():
    pack = Halving(CELLS, 1_000, 1_000)
    nll = [np.nan, np.nan, 1, 1, 1, np.nan, np.nan, np.nan]
    assert pack.keep_best(40, scored([9] * 8, nll), 0.1) == [2, 3, 4]
    with pytest.raises(DivergedError, match="all 8 heads diverged"):
        Halving(CELLS, 1_000, 1_000).keep_best(40, scored([9] * 8, [np.nan] * 8), 0.1)


@pytest.mark.parametrize("limit", [0, 10**9], ids=["by head", "by class"])
@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_kept_heads_go_on_as_in_the_whole_pack(monkeypatch, solver, limit):
    monkeypatch.setattr(packed_heads, "SMALL_PACK", limit)
    generator = torch.Generator().manual_seed(0)
    cells = [(0.05 * i, 0.01 * i) for i in range(1, 6)]
    whole, kept = (PackedHeads(6, 3, cells, solver=solver, seed=1, device=CPU) for _ in range(2))
    for step in range(6):
        features = torch.nn.functional.pad(torch.randn(8, 6, generator=generator), (0, 1), value=1.0)
        targets = torch.randint(3, (8,), generator=generator)
        for heads in (whole, kept):
            heads.step(features, targets, 0.5)
        if step == 2:
            kept.keep([1, 4])
    for position, index in enumerate([1, 4]):
        torch.testing.assert_close(kept.head(position), whole.head(index))


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_the_order_of_the_columns_changes_rounding_only(monkeypatch, solver):
    cells = [(0.1, 0.0), (0.01, 0.1)]
    features, targets = torch.randn(16, 5, generator=torch.Generator().manual_seed(2)), torch.arange(16) % 4
    packs = []
    for limit in (0, 10**9):
        monkeypatch.setattr(packed_heads, "SMALL_PACK", limit)
        packs.append(PackedHeads(4, 4, cells, solver=solver, seed=0, device=CPU))
        packs[-1].step(features, targets, 1.0)
    torch.testing.assert_close(packs[0].weights, packs[1].weights)
    torch.testing.assert_close(packs[0].logits(features), packs[1].logits(features))


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
def test_a_halved_search_finds_as_good_a_head_as_the_whole_one(context_of, digits, small_limit, solver):
    context, hparams = context_of(digits), {**GRADIENT, "solver": solver}
    packed, results = run(context, hparams)
    best = best_of(results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halving, "SMALL_PACK", 10**9)
        whole = best_of(run(context, hparams)[1])
    assert abs(best.metrics["accuracy"] - whole.metrics["accuracy"]) <= 0.005  # Two of 400.
    alone, _ = run(context, {**hparams, **best.chosen})
    np.testing.assert_allclose(
        alone.predict("val").logits, packed.predict("val").logits, rtol=1e-2, atol=1e-2
    )


def test_the_grid_lists_every_head_with_the_epochs_it_was_trained_for(context_of, digits, small_limit):
    _, results = run(context_of(digits), {**GRADIENT, "solver": "sgd"})
    for before, after in itertools.pairwise(results):
        assert len(after.grid) == 52
        for row, later in zip(before.grid, after.grid, strict=True):
            # A head may also be dropped at the very end of an epoch, after which it is still listed with it.
            assert later == row or (row["epoch"] == before.epoch and later["epoch"] > row["epoch"])
    last = results[-1]
    trained = [row for row in last.grid if row["epoch"] == EPOCHS]
    assert len(trained) == 3
    assert last.metrics["accuracy"] == max(row["accuracy"] for row in trained)
    assert run(context_of(digits), {**GRADIENT, "solver": "sgd"})[1] == results
