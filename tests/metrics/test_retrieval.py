"""Retrieval metrics: by hand, against torchmetrics, and in their limits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import retrieval as reference

from raybench.core.errors import EmptyInputError
from raybench.metrics.retrieval import (
    CUTOFFS,
    RETRIEVAL_METRICS,
    average_precision,
    retrieval_means,
    retrieval_values,
    trapezoid_average_precision,
)

PLACES = st.sets(st.integers(0, 119), min_size=1, max_size=30).map(lambda found: np.array(sorted(found)))


def revisitop_ap(ranks, num_positives):
    """`compute_ap` of revisitop's evaluate.py, line by line."""
    area = 0.0
    for j, rank in enumerate(ranks):
        before = 1.0 if rank == 0 else j / rank
        area += (before + (j + 1) / (rank + 1)) / (2 * num_positives)
    return area


@given(PLACES)
def test_values_agree_with_torchmetrics(places):
    scores = torch.linspace(2, 1, 120, dtype=torch.float64)  # torchmetrics drops positives of score 0.
    target = torch.zeros(120, dtype=torch.bool)
    target[places] = True
    values = retrieval_values(places)
    expected = {
        "map": reference.retrieval_average_precision(scores, target),
        "mrr": reference.retrieval_reciprocal_rank(scores, target),
        "r_precision": reference.retrieval_r_precision(scores, target),
    }
    for k in CUTOFFS:
        expected[f"recall_at_{k}"] = reference.retrieval_recall(scores, target, top_k=k)
        expected[f"precision_at_{k}"] = reference.retrieval_precision(scores, target, top_k=k)
        expected[f"hit_at_{k}"] = reference.retrieval_hit_rate(scores, target, top_k=k)
    for name, value in expected.items():
        assert values[name] == pytest.approx(float(value), abs=1e-6), name


@given(PLACES)
def test_the_trapezoid_is_revisitops_and_never_above_plain(places):
    value = trapezoid_average_precision(places)
    assert value == pytest.approx(revisitop_ap(places, len(places)), abs=1e-12)
    assert value <= average_precision(places) + 1e-12


@pytest.mark.parametrize("num", [1, 7, 150])
def test_a_perfect_ranking_has_every_positive_first(num):
    values = retrieval_values(np.arange(num))
    assert values["map"] == values["map_trapezoid"] == values["mrr"] == values["r_precision"] == 1.0


def test_a_query_without_positives_is_counted_and_left_out():
    rows = [retrieval_values(np.array(ranks, dtype=np.int64)) for ranks in ([0], [], [3])]
    means = retrieval_means({name: np.array([row[name] for row in rows]) for name in RETRIEVAL_METRICS})
    assert means["queries_without_positives"] == 1.0
    assert means["mrr"] == (1.0 + 0.25) / 2


def test_queries_without_any_positive_are_refused():
    with pytest.raises(EmptyInputError, match="none of 2 queries has a positive"):
        retrieval_means({"map": np.full(2, np.nan)})
