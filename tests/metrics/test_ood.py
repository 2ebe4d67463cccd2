"""AUROC and FPR95 of out-of-distribution scores, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score, roc_curve

from raybench.core.errors import EmptyInputError
from raybench.metrics.ood import auroc, fpr95

SCORES = arrays(np.float64, st.integers(1, 30), elements=st.integers(-5, 5).map(float))


@given(SCORES, SCORES)
def test_auroc_is_scikit_learns_ties_included(inside, outside):
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, np.concatenate([inside, outside])))


@given(SCORES, SCORES)
def test_fpr95_is_the_first_threshold_that_keeps_95_percent(inside, outside):
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    false, true, _ = roc_curve(truth, np.concatenate([inside, outside]), drop_intermediate=False)
    assert fpr95(inside, outside) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_separated_scores_are_perfect():
    assert (auroc(np.array([2.0, 3]), np.array([0.0, 1])), fpr95(np.array([2.0, 3]), np.array([0.0, 1]))) == (
        1,
        0,
    )


@pytest.mark.parametrize("measure", [auroc, fpr95])
def test_nothing_to_compare_is_refused(measure):
    with pytest.raises(EmptyInputError, match="needs images of both kinds, got 0 in and 1 out"):
        measure(np.array([]), np.array([1.0]))
