import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from raybench.core.errors import DivergedError
from raybench.evaluation.packed_grid import HeadScores, best_cell


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
        assert found.accuracy[head] == float((alone.argmax(dim=1) == targets).double().mean())
        assert found.nll[head] == pytest.approx(float(cross_entropy(alone, targets)), rel=1e-6)


def test_a_diverged_head_scores_zero_and_is_never_chosen():
    logits = torch.zeros(4, 3, 2)
    logits[:, :, 0] = torch.nan
    found = scored(logits, torch.tensor([0, 1, 2, 0]), 1)
    assert found.accuracy[0] == 0.0
    assert best_cell(found.accuracy, found.nll, [{"lr": 9.0}, {"lr": 1.0}]) == 1


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
