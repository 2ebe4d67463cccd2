"""Stability: by recomputing from frames, by hand, and on the published table."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis import stability
from raybench.analysis.aggregate_ranking import aggregate_ranking
from raybench.catalog.published import published
from raybench.core.errors import EmptyInputError


def frame(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"backbone": f"b{i}", "task": f"t{j}", "value": float(value), "direction": "max"}
            for (i, j), value in np.ndenumerate(values)
        ]
    )


def test_leaving_one_out_is_ranking_without_it():
    scores = frame(np.random.default_rng(0).random((7, 4)))
    whole = aggregate_ranking(scores).sort("backbone")["mean_zscore"]
    for row in stability.leave_one_task_out(scores).iter_rows(named=True):
        rest = aggregate_ranking(scores.filter(pl.col("task") != row["task"]))
        assert row["best"] == rest["backbone"][0]
        tau = stats.kendalltau(rest.sort("backbone")["mean_zscore"], whole).statistic
        assert row["kendall_tau"] == pytest.approx(tau)


def test_a_task_that_carries_the_winner_is_found():
    # b0 leads only by t2.
    found = stability.leave_one_task_out(frame(np.array([[0.4, 0.4, 1.0], [0.5, 0.5, 0.1], [0.0, 0.1, 0.0]])))
    assert found["best"][2] == "b1"
    assert found.filter(task="t2")["num_moved"].item() == 2


def test_the_task_that_all_others_follow_predicts_them():
    # t1 … t3 are t0 with noise, t4 is noise alone.
    rng = np.random.default_rng(1)
    base = rng.random(30)
    values = np.column_stack([base, *(base + 0.15 * rng.random(30) for _ in range(3)), rng.random(30)])
    found = stability.predictive_tasks(frame(values), max_tasks=2)
    assert "t4" not in found["tasks"][0].to_list()
    assert found["is_exhaustive"].all()


def test_the_greedy_search_extends_the_best_smaller_subset(monkeypatch):
    monkeypatch.setattr(stability, "MAX_SUBSETS", 6)
    found = stability.predictive_tasks(frame(np.random.default_rng(2).random((6, 6))), max_tasks=3)
    sets = [set(tasks) for tasks in found["tasks"].to_list()]
    assert sets[0] < sets[1] < sets[2]
    assert found["is_exhaustive"].to_list() == [True, False, False]


def test_the_published_retrieval_ranking_depends_on_no_single_task():
    scores = pl.DataFrame(published("bob").scores)
    assert stability.leave_one_task_out(scores)["kendall_tau"].min() > 0.85
    ranges = stability.rank_ranges(scores)
    assert ranges["backbone"][-1] == "mae-vit_base_patch16_224"
    assert ranges.row(-1)[1:] == (33, 33, 33)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_rank_ranges_contain_the_rank_and_equal_tasks_move_no_backbone(seed):
    rng = np.random.default_rng(seed)
    ranges = stability.rank_ranges(frame(rng.random((5, 3)).round(1)))
    assert (ranges["best_rank"] <= ranges["worst_rank"]).all()
    same = frame(np.repeat(rng.permutation(5)[:, None], 3, axis=1))
    assert stability.leave_one_task_out(same)["num_moved"].to_list() == [0, 0, 0]
    assert stability.predictive_tasks(same)["kendall_tau"].to_list() == pytest.approx([1.0, 1.0])


def test_a_table_of_ties_has_no_correlation():
    found = stability.predictive_tasks(frame(np.ones((3, 3))))
    assert found.schema["kendall_tau"] == pl.Float64
    assert found["kendall_tau"].null_count() == found.height


def test_one_task_is_refused():
    for function in (stability.leave_one_task_out, stability.rank_ranges, stability.predictive_tasks):
        with pytest.raises(EmptyInputError, match="two tasks"):
            function(frame(np.array([[0.1], [0.2]])))
