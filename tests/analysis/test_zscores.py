"""Scores → ranks: by hand, against the derived table and scipy, and invariances."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis.zscores import add_task_columns, overall, rank_within_task, zscore_within_task

TABLES = Path(__file__).parents[2] / "../shared/bob/tables"
VALUES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


def frame(values: dict[str, list[float | None]], direction: str = "max") -> pl.DataFrame:
    """Task → one value per backbone, named a, b, c, …; None where there is no score."""
    return pl.DataFrame(
        [
            {"backbone": "abcdefghijkl"[i], "task": task, "value": value, "direction": direction}
            for task, column in values.items()
            for i, value in enumerate(column)
            if value is not None
        ],
        schema_overrides={"value": pl.Float64},
    )


def zscores(scores: pl.DataFrame, **options) -> list[float]:
    return zscore_within_task(scores, **options).sort("task", "backbone")["zscore"].to_list()


def ranking(scores: pl.DataFrame, **options) -> pl.DataFrame:
    return scores.pipe(zscore_within_task, **options).pipe(rank_within_task).pipe(overall)


@st.composite
def tables(draw, min_tasks: int = 1) -> pl.DataFrame:
    num_backbones, num_tasks = draw(st.integers(1, 6)), draw(st.integers(min_tasks, 4))
    column = st.lists(VALUES, min_size=num_backbones, max_size=num_backbones)
    return frame(
        {f"t{task}": draw(column) for task in range(num_tasks)}, draw(st.sampled_from(["max", "min"]))
    )


def test_worked_by_hand():
    # t1: mean 0.5, sample deviation 0.1 → −1, 0, 1. t2: mean 0.4, deviation 0.2 → 1, 0, −1.
    # c and a mirror each other: everybody's mean z-score is 0, everybody's mean rank 2.
    scores = frame({"t1": [0.4, 0.5, 0.6], "t2": [0.6, 0.4, 0.2]})
    assert zscores(scores) == pytest.approx([-1, 0, 1, 1, 0, -1])
    assert ranking(scores).rows() == [(1, name, 0.0, 2.0, 2, True) for name in "abc"]


def test_worked_by_hand_with_a_winner():
    # t1 as above; t2: 0.1, 0.3, 0.5 has deviation 0.2 → −1, 0, 1. c wins both.
    result = ranking(frame({"t1": [0.4, 0.5, 0.6], "t2": [0.1, 0.3, 0.5]}))
    assert result["backbone"].to_list() == ["c", "b", "a"]
    assert result["mean_zscore"].to_list() == pytest.approx([1, 0, -1])
    assert result["mean_rank"].to_list() == [1, 2, 3]
    assert result["overall_rank"].to_list() == [1, 2, 3]


def test_the_populations_deviation_is_smaller_so_its_zscores_are_larger():
    scores = frame({"t": [0.4, 0.5, 0.6]})
    assert zscores(scores, ddof=0) == pytest.approx([-np.sqrt(1.5), 0, np.sqrt(1.5)])


def test_ties_share_the_mean_of_their_ranks():
    ranks = rank_within_task(frame({"t": [0.9, 0.5, 0.5, 0.1]})).sort("backbone")["rank"].to_list()
    assert ranks == [1, 2.5, 2.5, 4]


def test_ties_share_the_smaller_overall_rank():
    assert ranking(frame({"t": [0.5, 0.5, 0.1]}))["overall_rank"].to_list() == [1, 1, 3]


def test_zscores_are_negated_where_lower_is_better():
    high, low = frame({"t": [0.1, 0.2, 0.9]}), frame({"t": [0.1, 0.2, 0.9]}, "min")
    assert zscores(low) == pytest.approx([-z for z in zscores(high)])
    assert ranking(low)["backbone"].to_list() == ranking(high)["backbone"].to_list()[::-1]


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_zscores_of_a_constant_task_are_zero(value):
    assert zscores(frame({"t": [value] * 7})) == [0.0] * 7


def test_a_single_backbone_scores_zero():
    assert ranking(frame({"t": [0.7]})).rows() == [(1, "a", 0.0, 1.0, 1, True)]


def test_differences_that_vanish_when_squared_still_count():
    assert zscores(frame({"t": [0.0, 1e-200]})) == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_every_task_weighs_the_same_however_many_backbones_it_has():
    result = ranking(frame({"t1": [0.0, 1.0, None], "t2": [0.0, 1.0, None], "t3": [0.0, 0.5, 1.0]}))
    assert result.filter(backbone="a")["mean_zscore"].item() == pytest.approx((-(0.5**0.5) * 2 - 1) / 3)


def test_incomplete_backbones_are_marked_and_those_without_scores_come_last():
    ranked = frame({"t1": [0.1, 0.9], "t2": [0.5, None]}).pipe(zscore_within_task).pipe(rank_within_task)
    expected = pl.DataFrame({"backbone": ["z"], "task": ["t1"]})
    result = overall(ranked, expected)
    assert result.select("backbone", "num_tasks", "is_complete").rows() == [
        ("b", 1, False),
        ("a", 2, True),
        ("z", 0, False),
    ]
    assert (
        result.filter(backbone="z").select("overall_rank", "mean_zscore", "mean_rank").row(0) == (None,) * 3
    )


def test_task_columns_hold_the_values_of_each_backbone():
    scores = frame({"t2": [0.1, 0.9], "t1": [0.5, None]})
    result = add_task_columns(ranking(scores), scores)
    assert result.columns[-2:] == ["t1", "t2"]
    assert result.select("backbone", "t1", "t2").sort("backbone").rows() == [
        ("a", 0.5, 0.1),
        ("b", None, 0.9),
    ]


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scipy(seed, ddof):
    values = np.random.default_rng(seed).random(9).round(1)
    scores = frame({"t": values.tolist()})
    assert zscores(scores, ddof=ddof) == pytest.approx(stats.zscore(values, ddof=ddof).tolist())
    ranks = rank_within_task(scores).sort("backbone")["rank"].to_list()
    assert ranks == stats.rankdata(-values).tolist()


@settings(deadline=None)
@given(tables(), st.floats(0.01, 100), st.floats(-100, 100))
def test_an_affine_rescaling_of_the_metric_changes_no_zscore(scores, scale, shift):
    rescaled = scores.with_columns(value=pl.col("value") * scale + shift)
    assert zscores(rescaled) == pytest.approx(zscores(scores), abs=1e-7)


@settings(deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_to_the_last_bit(scores, random):
    order = list(range(scores.height))
    random.shuffle(order)
    assert ranking(scores[order]).equals(ranking(scores))


@settings(deadline=None)
@given(tables())
def test_flipping_direction_and_sign_together_changes_nothing(scores):
    other = {"max": "min", "min": "max"}
    flipped = scores.with_columns(value=-pl.col("value"), direction=pl.col("direction").replace_strict(other))
    assert ranking(flipped).equals(ranking(scores))


@settings(deadline=None)
@given(tables())
def test_flipping_the_direction_alone_negates_every_zscore(scores):
    other = {"max": "min", "min": "max"}
    flipped = scores.with_columns(direction=pl.col("direction").replace_strict(other))
    assert zscores(flipped) == pytest.approx([-z for z in zscores(scores)])


@settings(deadline=None)
@given(tables())
def test_zscores_of_a_task_sum_to_zero_and_follow_its_ranks(scores):
    ranked = scores.pipe(zscore_within_task).pipe(rank_within_task)
    for _, task in ranked.group_by("task"):
        assert task["zscore"].sum() == pytest.approx(0, abs=1e-9)
        assert task.sort("zscore", descending=True)["rank"].is_sorted()


@settings(deadline=None)
@given(tables())
def test_equal_values_get_equal_zscores_and_ranks(scores):
    ranked = scores.pipe(zscore_within_task).pipe(rank_within_task)
    per_value = ranked.group_by("task", "value").agg(pl.col("zscore", "rank").n_unique())
    assert per_value.select(pl.col("zscore", "rank").max()).row(0) == (1, 1)


@settings(deadline=None)
@given(tables(min_tasks=2))
def test_the_deviations_convention_cannot_reorder_a_complete_table(scores):
    # With the same backbones on every task, ddof only multiplies all z-scores by one factor.
    sample = ranking(scores, ddof=1).select("backbone", "mean_zscore")
    population = ranking(scores, ddof=0).select("backbone", pl.col("mean_zscore").alias("other"))
    joined = sample.join(population, on="backbone").sort("mean_zscore")
    assert np.all(np.diff(joined["other"].to_numpy()) >= -1e-9)


@pytest.fixture(scope="module")
def retrieval() -> pl.DataFrame:
    if not TABLES.is_dir():
        pytest.skip("the paper's tables (../shared/bob/tables) are not on this machine")
    table = pl.read_csv(TABLES / "retrieval_mrr.csv")
    return table.select(backbone="model", task="dataset", value="value", direction=pl.lit("max"))


@pytest.fixture(scope="module")
def derived(retrieval) -> pl.DataFrame:
    return pl.read_csv(TABLES / "retrieval_mrr_zscores_DERIVED.csv").rename({"model": "backbone"})


def test_the_papers_retrieval_table_gives_the_derived_zscores_and_ranks(retrieval, derived):
    scored = zscore_within_task(retrieval, ddof=0)
    wide = add_task_columns(ranking(retrieval, ddof=0), scored, "zscore").join(derived, on="backbone")
    assert wide.height == 33
    for task in retrieval["task"].unique():
        assert wide[task].to_list() == pytest.approx(wide[f"z_{task}"].to_list(), abs=5.1e-5)
    assert wide["mean_zscore"].to_list() == pytest.approx(wide["mean_z_all33"].to_list(), abs=5.1e-5)
    assert wide["overall_rank"].to_list() == wide["rank_all33"].to_list()


def test_the_21_backbones_of_the_papers_size_have_the_derived_zscores_and_ranks(retrieval, derived):
    known = derived.filter(pl.col("rank_subset21").is_not_null())
    result = ranking(retrieval.join(known, on="backbone", how="semi"), ddof=0).join(known, on="backbone")
    assert result.height == 21
    assert result["mean_zscore"].to_list() == pytest.approx(result["mean_z_subset21"].to_list(), abs=5.1e-5)
    assert result["overall_rank"].to_list() == result["rank_subset21"].to_list()


def test_the_papers_ranks_do_not_depend_on_the_deviations_convention(retrieval):
    assert ranking(retrieval, ddof=0)["backbone"].equals(ranking(retrieval, ddof=1)["backbone"])
