"""The open choices of the paper's rule: by hand, against numpy, and invariances."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis.aggregate_ranking import (
    RankingRule,
    aggregate_ranking,
    compare_rules,
    rank_within_size,
)
from raybench.analysis.zscores import overall, rank_within_task, zscore_within_task
from raybench.catalog.published import published
from raybench.core.errors import EmptyInputError, MissingMeasurementError


def frame(values: np.ndarray, categories: list[str] | None = None) -> pl.DataFrame:
    """[backbones, tasks] → scores; NaN where there is none."""
    rows = [
        {
            "backbone": f"b{i}",
            "task": f"t{j}",
            "direction": "max",
            "value": float(value),
            "category": (categories or ["all"] * values.shape[1])[j],
        }
        for (i, j), value in np.ndenumerate(values)
        if not np.isnan(value)
    ]
    return pl.DataFrame(rows)


def means(ranking: pl.DataFrame) -> list[float]:
    return ranking.sort("backbone")["mean_zscore"].to_list()


@pytest.mark.parametrize(("deviation", "ddof"), [("sample", 1), ("population", 0)])
@pytest.mark.parametrize("mean", ["macro", "micro"])
def test_agrees_with_numpy(deviation, ddof, mean):
    values = np.random.default_rng(0).random((7, 5))
    z = stats.zscore(values, axis=0, ddof=ddof)
    expected = z.mean(1) if mean == "micro" else (z[:, :3].mean(1) + z[:, 3:].mean(1)) / 2
    ranking = aggregate_ranking(
        frame(values, ["x"] * 3 + ["y"] * 2), RankingRule(deviation=deviation, mean=mean)
    )
    assert means(ranking) == pytest.approx(expected.tolist())
    assert ranking["overall_rank"].to_list() == list(range(1, 8))
    assert ranking.sort("backbone")["z_y"].to_list() == pytest.approx(z[:, 3:].mean(1).tolist())


def test_excluded_random_init_rows_affect_neither_means_nor_ranking():
    values = np.array([[0.1], [0.5], [0.6], [0.7]])
    rule = RankingRule(with_random_init=False)
    ranking = aggregate_ranking(frame(values), rule, random_init=("b0",))
    assert ranking["backbone"].to_list() == ["b3", "b2", "b1"]
    assert ranking["mean_zscore"].to_list() == pytest.approx([1, 0, -1])


@pytest.mark.parametrize(
    ("missing", "expected"),
    # t0: 0, 1 and 2 → −1, 0, 1. t1 lacks b2: −1/√2 and 1/√2.
    [
        ("mean_of_rest", [(-1 - 0.5**0.5) / 2, 0.5**0.5 / 2, 1.0]),
        ("zero", [(-1 - 0.5**0.5) / 2, 0.5**0.5 / 2, 0.5]),
        ("common_tasks", [-1.0, 0.0, 1.0]),
    ],
)
def test_missing_cells_by_hand(missing, expected):
    values = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, np.nan]])
    assert means(aggregate_ranking(frame(values), RankingRule(missing=missing))) == pytest.approx(expected)


def test_missing_cells_are_refused_unless_allowed():
    with pytest.raises(MissingMeasurementError, match="'b2' on 't1'"):
        aggregate_ranking(frame(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, np.nan]])))


def test_tables_without_a_common_task_are_refused():
    values = np.array([[0.0, np.nan], [np.nan, 1.0]])
    with pytest.raises(EmptyInputError, match="no score is left"):
        aggregate_ranking(frame(values), RankingRule(missing="common_tasks"))


def test_zscores_are_negated_where_lower_is_better():
    scores = frame(np.array([[0.1, 0.2], [0.9, 0.4], [0.3, 0.3]]))
    turned = aggregate_ranking(scores.with_columns(direction=pl.lit("min")))
    assert means(turned) == pytest.approx([-z for z in means(aggregate_ranking(scores))])


def test_small_backbones_are_ranked_among_themselves_without_unknown_sizes():
    ranking = aggregate_ranking(frame(np.array([[0.1], [0.5], [0.6], [0.7]])))
    facts = pl.DataFrame({"backbone": ["b0", "b1", "b2", "b3"], "params_m": [5.0, 30.0, None, 90.0]})
    small = rank_within_size(ranking, facts, max_params_m=30)
    assert small.select("overall_rank", "backbone").rows() == [(1, "b1"), (2, "b0")]


def test_the_published_small_backbones_on_retrieval():
    bob = published("bob")
    small = rank_within_size(
        aggregate_ranking(pl.DataFrame(bob.scores)), pl.DataFrame(bob.backbones), max_params_m=30
    )
    assert small["backbone"][0] == "timm-vit_small_patch16_224_dino"
    assert small["params_m"].max() < 30


def test_the_published_retrieval_ranking_does_not_depend_on_the_open_choices():
    compared = compare_rules(pl.DataFrame(published("bob").scores))
    assert compared.height == 4
    assert compared["kendall_tau"].to_list() == pytest.approx([1.0] * 4)
    assert compared["num_moved"].to_list() == [0] * 4


def test_a_ranking_that_depends_on_the_mean_is_reported():
    # Three easy tasks of one category say b1, one of another says b0 by far.
    values = np.array([[0.0, 0.0, 0.0, 9.0], [1.0, 1.0, 1.0, 0.0], [0.4, 0.4, 0.4, 0.2]])
    compared = compare_rules(frame(values, ["x"] * 3 + ["y"]))
    assert compared.filter(mean="micro")["num_moved"].to_list() == [0, 0]
    assert all(moved > 0 for moved in compared.filter(mean="macro")["num_moved"])
    by_macro = compare_rules(frame(values, ["x"] * 3 + ["y"]), default=RankingRule(mean="macro"))
    assert by_macro["mean"][0] == "macro"
    assert by_macro.filter(mean="macro")["num_moved"].to_list() == [0, 0]


def test_the_default_weighs_every_task_the_same_and_so_does_the_plain_ranking():
    # Two backbones: every z-score is ±1/√2. b0 wins both tasks of x, b1 the one of y.
    scores = frame(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), ["x", "x", "y"])
    third = 0.5**0.5 / 3
    assert RankingRule().mean == "micro"
    assert means(aggregate_ranking(scores)) == pytest.approx([third, -third])
    assert means(aggregate_ranking(scores, RankingRule(mean="macro"))) == pytest.approx([0.0, 0.0])
    plain = overall(rank_within_task(zscore_within_task(scores)))
    assert aggregate_ranking(scores).select(plain.columns).equals(plain)


def test_without_negation_the_highest_loss_is_first():
    losses = frame(np.array([[0.1], [0.4], [0.7]])).with_columns(direction=pl.lit("min"))
    assert aggregate_ranking(losses)["backbone"].to_list() == ["b0", "b1", "b2"]
    as_is = aggregate_ranking(losses, RankingRule(lower_is_better="as_is"))
    assert as_is["backbone"].to_list() == ["b2", "b1", "b0"]
    assert means(as_is) == pytest.approx([-1, 0, 1])
    assert as_is.sort("backbone")["mean_rank"].to_list() == [1, 2, 3]


def test_a_missing_score_counted_as_zero_is_zero_in_its_category():
    values = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, np.nan]])
    rule = RankingRule(missing="zero", mean="macro")
    ranking = aggregate_ranking(frame(values, ["x", "y", "y"]), rule).filter(backbone="b2")
    assert ranking.select("z_x", "z_y", "mean_zscore", "num_tasks").row(0) == (1.0, 0.5, 0.75, 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-100, 100))
def test_neither_affine_rescaling_nor_row_order_nor_names_of_rules_matter(seed, scale, shift):
    rng = np.random.default_rng(seed)
    scores = frame(rng.random((5, 4)).round(2), ["x", "x", "y", "y"])
    other = scores.sample(fraction=1, shuffle=True, seed=seed).with_columns(
        value=pl.col("value") * scale + shift
    )
    assert means(aggregate_ranking(other)) == pytest.approx(means(aggregate_ranking(scores)), abs=1e-7)
    # Categories of equal size: macro and micro are one.
    assert means(aggregate_ranking(scores, RankingRule(mean="micro"))) == pytest.approx(
        means(aggregate_ranking(scores))
    )
