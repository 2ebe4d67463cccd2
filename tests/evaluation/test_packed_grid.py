import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from raybench.catalog.tasks import CLASSIFICATION_METRICS
from raybench.core.errors import DivergedError
from raybench.evaluation.packed_grid import HeadScores, best_cell
from raybench.metrics import METRICS


def scored(logits, targets, num_blocks):
    scores = HeadScores(logits.shape[2])
    for part, wanted in zip(logits.chunk(num_blocks), targets.chunk(num_blocks), strict=True):
        scores.add(part, wanted)
    return scores


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_scores_equal_those_of_each_head_alone(num_blocks):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 5, 4, generator=generator)
    targets = torch.randint(5, (30,), generator=generator)
    found = scored(logits, targets, num_blocks)
    for head in range(4):
        alone = logits[:, :, head]
        assert found.values[head] == float((alone.argmax(dim=1) == targets).double().mean())
        assert found.nll[head] == pytest.approx(float(cross_entropy(alone, targets)), rel=1e-6)


def test_a_diverged_head_scores_zero_and_is_never_chosen():
    logits = torch.zeros(4, 3, 2)
    logits[:, :, 0] = torch.nan
    found = scored(logits, torch.tensor([0, 1, 2, 0]), 1)
    assert found.values[0] == 0.0
    assert found.best([{"lr": 9.0}, {"lr": 1.0}]) == 1


def test_accuracy_decides_then_nll_then_the_smaller_hyperparameters():
    cells = [{"lr": 1.0, "wd": 0.1}, {"lr": 0.1, "wd": 0.1}, {"lr": 0.1, "wd": 0.0}]
    assert best_cell([0.8, 0.9, 0.8], [0.1, 0.9, 0.1], cells) == 1
    assert best_cell([0.9, 0.9, 0.9], [0.3, 0.2, 0.3], cells) == 1
    assert best_cell([0.9, 0.9, 0.9], [0.2, 0.2, 0.2], cells) == 2


def test_words_and_numbers_can_stand_in_one_dimension():
    assert best_cell([0.5, 0.5], [1.0, 1.0], [{"weighting": "uniform"}, {"weighting": 0.07}]) == 1


def test_if_all_heads_diverged_it_says_so():
    with pytest.raises(DivergedError, match="all 2 heads diverged"):
        best_cell([0.0, 0.0], [np.nan, np.inf], [{"lr": 1.0}, {"lr": 2.0}])


@pytest.mark.parametrize("objective", CLASSIFICATION_METRICS)
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_the_objective_of_every_head_is_the_metric_of_that_head(objective, num_blocks):
    generator = torch.Generator().manual_seed(1)
    # Whole numbers: many logits are equal.
    logits = torch.randint(4, (60, 9, 3), generator=generator).float()
    targets = torch.randint(8, (60,), generator=generator)  # Class 8 does not occur.
    scores = HeadScores(3, objective)
    for part, classes in zip(logits.chunk(num_blocks), targets.chunk(num_blocks), strict=True):
        scores.add(part, classes)
    for head in range(3):
        expected = METRICS[objective].compute(logits[:, :, head].numpy(), targets.numpy())
        assert scores.values[head] == pytest.approx(expected, rel=1e-6)


def test_a_head_that_diverged_is_the_worst_by_every_objective():
    logits = torch.zeros(4, 3, 2)
    logits[:, :, 0] = torch.nan
    for objective in CLASSIFICATION_METRICS:
        scores = HeadScores(2, objective)
        scores.add(logits, torch.tensor([0, 1, 2, 0]))
        assert METRICS[objective].is_better(scores.values[1], scores.values[0])
        assert scores.best([{"lr": 1.0}, {"lr": 2.0}]) == 1


def test_by_nll_the_lowest_wins_although_another_head_is_more_accurate():
    # Head 0 is right in 3 of 4 but sure of its mistake; head 1 guesses.
    logits = torch.zeros(4, 2, 2)
    logits[:, 0, 0] = 50.0
    targets = torch.tensor([0, 0, 0, 1])
    best = {}
    for objective in ("accuracy", "nll"):
        scores = HeadScores(2, objective)
        logits[:, 1, 1] = 0.1
        scores.add(logits, targets)
        best[objective] = scores.best([{"lr": 1.0}, {"lr": 2.0}])
    assert best == {"accuracy": 0, "nll": 1}
