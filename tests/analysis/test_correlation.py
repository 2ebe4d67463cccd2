"""Correlations: against scipy, by hand, and on the published table."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis import correlation
from raybench.analysis.aggregate_ranking import aggregate_ranking
from raybench.analysis.zscores import rank_within_task, zscore_within_task
from raybench.catalog.published import published
from raybench.core.errors import MissingMeasurementError


def frame(values: np.ndarray, tasks: list[str], direction: str = "max") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"backbone": f"b{i}", "task": tasks[j], "value": float(value), "direction": direction}
            for (i, j), value in np.ndenumerate(values)
        ]
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_task_correlations_are_scipys(seed):
    values = np.random.default_rng(seed).random((8, 3)).round(1)
    ranked = zscore_within_task(frame(values, ["t0", "t1", "t2"]))
    for row in correlation.task_correlations(ranked).iter_rows(named=True):
        i, j = int(row["one"][1]), int(row["other"][1])
        if row["spearman"] is None:
            assert 1 in (len(set(values[:, i])), len(set(values[:, j])))
        else:
            assert row["spearman"] == pytest.approx(stats.spearmanr(values[:, i], values[:, j]).statistic)


def test_a_lower_is_better_metric_correlates_by_goodness():
    accuracy = frame(np.array([[0.1], [0.5], [0.9]]), ["accuracy"])
    error = frame(np.array([[0.9], [0.5], [0.1]]), ["error"], "min")
    found = correlation.task_correlations(zscore_within_task(pl.concat([accuracy, error])))
    assert found["spearman"].item() == pytest.approx(1)


def test_only_backbones_that_both_tasks_have_count_and_two_are_too_few():
    scores = frame(np.arange(8.0).reshape(4, 2), ["t0", "t1"])
    found = correlation.task_correlations(
        zscore_within_task(
            scores.filter(~((pl.col("task") == "t1") & pl.col("backbone").is_in(["b0", "b1"])))
        )
    )
    assert found.row(0) == ("t0", "t1", None, 2)


def test_published_retrieval_tasks_correlate():
    ranked = pl.DataFrame(published("bob").scores).pipe(zscore_within_task).pipe(rank_within_task)
    found = correlation.task_correlations(ranked)
    assert found.height == 28
    assert found["spearman"].min() > 0.2
    rows = pl.DataFrame(published("bob").scores).pivot("task", index="backbone", values="value")
    expected = stats.spearmanr(rows["retrieval@cub200"], rows["retrieval@inaturalist"]).statistic
    assert found.filter(one="retrieval@cub200", other="retrieval@inaturalist")[
        "spearman"
    ].item() == pytest.approx(expected)


@pytest.mark.parametrize("fact", ["params_m", "pretrain_images"])
def test_scores_against_facts_are_scipys_by_family(fact):
    bob = published("bob")
    ranking, facts = aggregate_ranking(pl.DataFrame(bob.scores)), pl.DataFrame(bob.backbones)
    found = correlation.score_correlations(ranking, facts, fact)
    assert found["family"].to_list() == ["all", "cnn", "transformer"]
    for family in ("cnn", "transformer"):
        known = ranking.join(facts, on="backbone").filter(family=family).drop_nulls([fact])
        row = found.filter(family=family).row(0, named=True)
        assert row["num_backbones"] == known.height
        assert row["spearman"] == pytest.approx(stats.spearmanr(known["mean_zscore"], known[fact]).statistic)


def test_a_constant_property_has_no_correlation():
    ranking = pl.DataFrame({"backbone": ["a", "b", "c"], "mean_zscore": [1.0, 0.0, -1.0]})
    facts = pl.DataFrame({"backbone": ["a", "b", "c"], "family": ["cnn"] * 3, "params_m": [5.0] * 3})
    assert correlation.score_correlations(ranking, facts, "params_m")["spearman"].to_list() == [None, None]


def test_groups_of_one_architecture_and_comparable_data_by_hand():
    ranking = pl.DataFrame({"backbone": list("abcdefg"), "mean_zscore": [1.0, 2, 3, 4, 5, 6, 7]})
    facts = pl.DataFrame(
        {
            "backbone": list("abcdefg"),
            "architecture": ["vit"] * 5 + ["cnn"] * 2,
            "pretrain_images": [10, 20, 21, 40, None, 10, 100],
        }
    )
    found = correlation.apples_to_apples(ranking, facts, data_factor=2)
    # vit: 10 and 20 within a factor of 2, 21 begins a group that 40 is in; the two cnns are alone.
    assert found.select("group", "rank_in_group", "backbone").rows() == [
        (1, 1, "b"),
        (1, 2, "a"),
        (2, 1, "d"),
        (2, 2, "c"),
    ]


def test_published_vit_b_on_imagenet_1k_is_a_group_that_dino_leads():
    bob = published("bob")
    found = correlation.apples_to_apples(
        aggregate_ranking(pl.DataFrame(bob.scores)), pl.DataFrame(bob.backbones)
    )
    vits = found.filter(architecture="ViT-B/16")
    assert vits["backbone"].to_list() == [
        "timm-vit_base_patch16_224_dino",
        "moco-vit_base_patch16_224",
        "timm-vit_base_patch16_224_augreg_in1k",
        "mae-vit_base_patch16_224",
    ]


def test_gains_between_protocols_by_hand():
    tasks = ["linear_probe@x", "finetune@x"]
    compared = correlation.compare_protocols(frame(np.array([[0.8, 0.7], [0.6, 0.9]]), tasks))
    assert compared.select("backbone", "rank_one", "rank_other", "moved").rows() == [
        ("b1", 2, 1, 1),
        ("b0", 1, 2, -1),
    ]
    assert compared["gain"].to_list() == pytest.approx([0.3, -0.1])
    facts = pl.DataFrame({"backbone": ["b0", "b1"], "family": ["cnn", "transformer"]})
    gains = correlation.gain_by_family(compared, facts)
    assert gains["family"].to_list() == ["cnn", "transformer"]
    assert gains["mean_gain"].to_list() == pytest.approx([-0.1, 0.3])


def test_gains_and_ranks_of_a_lower_is_better_metric():
    tasks = ["linear_probe@x", "finetune@x"]
    values = np.array([[0.8, 0.7], [0.6, 0.9]])
    one, other = (
        correlation.compare_protocols(scores).sort("backbone")
        for scores in (frame(values, tasks), frame(-values, tasks, "min"))
    )
    columns = ["gain", "rank_one", "rank_other", "moved"]
    assert one.select(columns).equals(other.select(columns))


def test_protocols_without_a_common_dataset_are_refused():
    with pytest.raises(MissingMeasurementError, match="'linear_probe' and 'finetune'"):
        correlation.compare_protocols(frame(np.ones((2, 2)), ["linear_probe@x", "finetune@y"]))
