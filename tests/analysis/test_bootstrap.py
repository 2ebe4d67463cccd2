"""The bootstrap: against binomial and closed-form errors, paired, covering, and refusing."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis.aggregate_ranking import RankingRule, aggregate_ranking
from raybench.analysis.bootstrap import (
    Replicates,
    best_probabilities,
    ranking_intervals,
    ranks_of,
    replicate,
    score_intervals,
    seed_variance,
    win_probabilities,
    zscores_of,
)
from raybench.analysis.zscores import overall, rank_within_task, zscore_within_task
from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError

NOISE = 0.01
"""What a share of 800 worlds may be off by chance; two of its standard errors."""


def correct(accuracies: list[float], n: int, seed: int = 0) -> np.ndarray:
    """One backbone per accuracy, [backbones, n]."""
    return np.random.default_rng(seed).random((len(accuracies), n)) < np.array(accuracies)[:, None]


def test_the_standard_error_is_the_binomial_one():
    found = score_intervals(replicate({"t": correct([0.5, 0.9], 2000)}, ["a", "b"], num_replicates=4000))
    p = found["value"].to_numpy()
    assert found["standard_error"].to_numpy() == pytest.approx(np.sqrt(p * (1 - p) / 2000), rel=0.04)


def test_the_interval_is_scipys_percentile_interval():
    values = np.random.default_rng(1).random((1, 400))
    row = score_intervals(replicate({"t": values}, ["a"], num_replicates=8000)).row(0, named=True)
    scipys = stats.bootstrap((values[0],), np.mean, method="percentile", n_resamples=8000, rng=2)
    assert row["low"] == pytest.approx(scipys.confidence_interval.low, abs=0.003)
    assert row["high"] == pytest.approx(scipys.confidence_interval.high, abs=0.003)


def test_seeds_add_the_spread_that_they_show_each_backbone_a_step_of_its_own():
    # Within a seed no spread, ±0.1 between the two: variance 0.02, of their mean 0.01.
    values = np.full((200, 2, 50), 0.0)
    values[:, 0], values[:, 1] = 0.4, 0.6
    values[0, :, 0], values[1, :, 0] = 0, 1  # Else all values lie between 0.4 and 0.6, where means are kept.
    drawn = replicate({"t": values}, list(map(str, range(200))), num_replicates=500).resampled[:, 2:, 0]
    assert drawn.std() == pytest.approx(0.1, rel=0.03)
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(198, 1)].mean()) < 0.01


def test_seeds_that_differ_as_examples_make_them_add_nothing():
    # Right with P = 0.5 on every example, in every seed: seeds' means differ, the expected score does not.
    values = np.random.default_rng(0).random((50, 4, 400)) < 0.5
    assert seed_variance(values.astype(float)) < 0.1 * 0.25 / 400
    shifted = values + np.linspace(-0.1, 0.1, 4)[None, :, None]
    assert seed_variance(shifted) == pytest.approx(np.linspace(-0.1, 0.1, 4).var(ddof=1), rel=0.1)


def test_two_seeds_without_examples_give_students_interval():
    scores = np.array([[[0.4], [0.6]], [[0.3], [0.5]]])  # Two backbones, two seeds: 2 degrees of freedom.
    found = score_intervals(replicate({"t": scores}, ["a", "b"], num_replicates=20_000)).row(0, named=True)
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=np.sqrt(0.02 / 2))
    assert found["low"] == pytest.approx(low, abs=0.02)
    assert found["high"] == pytest.approx(high, abs=0.02)


def test_each_backbone_is_centred_on_all_its_seeds_and_moves_less_with_more():
    several, lone = np.array([[0.3], [0.4], [0.5], [0.6]]), np.array([[0.9]])
    drawn = replicate({"t": [several, lone]}, ["a", "b"], num_replicates=20_000)
    assert drawn.estimates[:, 0] == pytest.approx([0.45, 0.9])
    found = score_intervals(drawn).rows_by_key("backbone", named=True, unique=True)
    spread = several.var(ddof=1)
    for name, mean, num_seeds in (("a", 0.45, 4), ("b", 0.9, 1)):
        low, _ = stats.t.interval(0.95, 3, loc=mean, scale=np.sqrt(spread / num_seeds))
        assert found[name]["low"] == pytest.approx(low, abs=0.02)


def test_backbones_share_the_draw_of_examples():
    # b is right wherever a is and on one example more: it never loses, however noisy either is.
    a = correct([0.5], 100)[0]
    b = a.copy()
    b[np.flatnonzero(~a)[:5]] = True
    found = win_probabilities(replicate({"t": np.stack([a, b])}, ["a", "b"], num_replicates=500))
    assert found.filter(backbone="b")["probability"].item() > 0.98


def test_zscores_and_ranks_are_those_of_the_frames():
    values = np.random.default_rng(3).random((6, 4)).round(1)
    rows = [
        {"backbone": f"b{i}", "task": f"t{j}", "value": float(value), "direction": "max"}
        for (i, j), value in np.ndenumerate(values)
    ]
    standing = pl.DataFrame(rows).pipe(zscore_within_task).pipe(rank_within_task).pipe(overall)
    assert zscores_of(values) == pytest.approx(standing.sort("backbone")["mean_zscore"].to_numpy())
    assert ranks_of(zscores_of(values)).argmin() == int(standing["backbone"][0][1:])


def test_a_constant_task_counts_nothing():
    assert zscores_of(np.array([[0.3, 1.0], [0.3, 2.0]])) == pytest.approx([-(0.5**0.5) / 2, 0.5**0.5 / 2])


def test_probabilities_worked_by_hand():
    # Three replicates of one task: a wins two, and they tie in the third.
    drawn = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]])[:, :, None]
    replicates = Replicates(backbones=("a", "b"), tasks=("t",), estimates=drawn[0], resampled=drawn)
    assert win_probabilities(replicates).rows() == [
        ("a", "b", pytest.approx(5 / 6)),
        ("b", "a", pytest.approx(1 / 6)),
    ]
    standing = ranking_intervals(replicates, top=2)
    assert standing["p_first"].to_list() == pytest.approx([5 / 6, 1 / 6])
    assert standing["p_top"].to_list() == [1.0, 1.0]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_probabilities_are_consistent(seed, top):
    rng = np.random.default_rng(seed)
    per_example = {t: rng.integers(0, 2, (5, 2, int(rng.integers(1, 30)))) for t in ("t0", "t1")}
    replicates = replicate(per_example, list("abcde"), num_replicates=60, seed=seed)
    standing = ranking_intervals(replicates, top=top)
    assert standing["p_first"].sum() == pytest.approx(1)
    assert standing["p_top"].sum() == pytest.approx(top)
    assert (standing["rank_low"] <= standing["rank_high"]).all()
    pairs = win_probabilities(replicates)
    mirrored = pairs.join(pairs, left_on=["backbone", "other"], right_on=["other", "backbone"])
    assert (mirrored["probability"] + mirrored["probability_right"]).to_numpy() == pytest.approx(1)


def test_the_same_seed_gives_the_same_replicates_and_another_others():
    per_example = {"t": correct([0.4, 0.6], 50)}
    first, again, other = (
        replicate(per_example, "ab", num_replicates=9, seed=s).resampled for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_wrong_shape_and_bad_values_are_refused():
    with pytest.raises(EmptyInputError, match="at least one task"):
        replicate({}, ["a"])
    with pytest.raises(EmptyInputError, match=r"expected .* of 3 backbones"):
        replicate({"t": np.zeros((2, 5))}, list("abc"))
    with pytest.raises(NonFiniteMeasurementError, match="'t' hold NaN"):
        replicate({"t": np.array([[0.5, np.nan]])}, ["a"])


def coverage(
    num_worlds: int, n: int, *, num_seeds: int = 1, seed_deviation: float = 0.0
) -> tuple[float, float, float]:
    """Shares of worlds whose 95 % intervals hold the true score, difference and mean z-score.

    A seed moves a backbone's chance of being right by `seed_deviation`; examples are hard for all backbones
    and seeds alike, half of the time.
    """
    truth = np.array([[0.60, 0.80], [0.65, 0.78], [0.72, 0.70], [0.55, 0.85]])
    true_zscores = zscores_of(truth)
    rng = np.random.default_rng(11)
    in_score, in_difference, in_zscore = [], [], []
    for world in range(num_worlds):
        per_example = {}
        for task in range(2):
            shape = (4, num_seeds, n)
            chance = truth[:, task, None] + rng.normal(0, seed_deviation, (4, num_seeds))
            uniform = np.where(rng.random(shape) < 0.5, rng.random(n), rng.random(shape))
            per_example[f"t{task}"] = uniform < chance[:, :, None]
        replicates = replicate(per_example, "abcd", num_replicates=400, seed=world)
        low, high = np.quantile(replicates.resampled, [0.025, 0.975], axis=0)
        in_score.append((low <= truth) & (truth <= high))
        gaps = replicates.resampled[:, 0] - replicates.resampled[:, 2]
        low, high = np.quantile(gaps, [0.025, 0.975], axis=0)
        gap = truth[0] - truth[2]
        in_difference.append((low <= gap) & (gap <= high))
        found = ranking_intervals(replicates).sort("backbone")
        low, high = found["zscore_low"].to_numpy(), found["zscore_high"].to_numpy()
        in_zscore.append((low <= true_zscores) & (true_zscores <= high))
    return float(np.mean(in_score)), float(np.mean(in_difference)), float(np.mean(in_zscore))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_seeds", "seed_deviation"),
    [(1, 0.0), (2, 0.0), (2, 0.06), (3, 0.02), (5, 0.06)],
    ids=["one seed", "seeds alike", "two seeds far apart", "three seeds", "five seeds far apart"],
)
def test_95_percent_intervals_hold_the_truth_93_to_97_percent_of_the_time(num_seeds, seed_deviation):
    found = coverage(800, 400, num_seeds=num_seeds, seed_deviation=seed_deviation)
    print("score, difference, mean z-score:", *(f"{share:.3f}" for share in found))
    for share in found:
        assert 0.93 - NOISE <= share <= 0.97 + NOISE


def test_weights_of_tasks_weigh_z_scores_as_the_macro_mean_does():
    values = np.random.default_rng(3).random((4, 3))
    scores = pl.DataFrame(
        [
            {"backbone": f"b{i}", "task": f"t{j}", "category": "xxy"[j], "direction": "max", "value": v}
            for (i, j), v in np.ndenumerate(values)
        ]
    )
    macro = aggregate_ranking(scores, RankingRule(mean="macro")).sort("backbone")["mean_zscore"].to_numpy()
    assert zscores_of(values, weights=np.array([0.25, 0.25, 0.5])) == pytest.approx(macro)


def test_the_probability_of_being_best_among_some_ignores_who_is_left_out():
    rng = np.random.default_rng(0)
    cells = {"t": (rng.random((3, 400)) < np.array([[0.9], [0.5], [0.5]])).astype(float)}
    drawn = replicate(cells, ["a", "b", "c"], num_replicates=200)
    assert best_probabilities(drawn, ["a", "b", "c"])["p_first"].to_list() == [1.0, 0.0, 0.0]
    among = best_probabilities(drawn, ["c", "b"])
    assert among["backbone"].to_list() == ["c", "b"]
    assert among["p_first"].sum() == pytest.approx(1.0)
    beats = win_probabilities(drawn).filter(backbone="c", other="b")["probability"].item()
    assert among["p_first"][0] == pytest.approx(beats)
