"""The bootstrap: against binomial and closed-form errors and brute force, paired, covering, and refusing."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from raybench.analysis.bootstrap import Replicates, example_means, replicate
from raybench.analysis.intervals import ranking_intervals, score_intervals, win_probabilities, zscores_of
from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.metrics.resampling import RatioOfSums, Statistic, WeightedFunction

NOISE = 0.01
"""What a share of 800 worlds may be off by chance; two of its standard errors."""


def correct(accuracies: list[float], n: int, seed: int = 0) -> np.ndarray:
    """One backbone per accuracy, [backbones, n]."""
    return np.random.default_rng(seed).random((len(accuracies), n)) < np.array(accuracies)[:, None]


def replicate_means(per_example: Mapping[str, object], backbones: Sequence[str], **options) -> Replicates:
    """Replicates of means, from arrays per backbone: [seeds, n] or [n]."""
    statistics = {task: example_means(values) for task, values in per_example.items()}
    return replicate(statistics, backbones, **options)


def as_functions(values: np.ndarray) -> list[list[Statistic]]:
    """The means of `example_means` as functions of weights."""
    return [
        [
            WeightedFunction(len(row), lambda w, row=row: float(w @ row / w.sum()))
            for row in np.atleast_2d(seeds)
        ]
        for seeds in values
    ]


def test_the_standard_error_is_the_binomial_one():
    found = score_intervals(
        replicate_means({"t": correct([0.5, 0.9], 2000)}, ["a", "b"], num_replicates=4000)
    )
    p = found["value"].to_numpy()
    assert found["standard_error"].to_numpy() == pytest.approx(np.sqrt(p * (1 - p) / 2000), rel=0.04)


def test_the_interval_is_scipys_percentile_interval():
    values = np.random.default_rng(1).random((1, 400))
    row = score_intervals(replicate_means({"t": values}, ["a"], num_replicates=8000)).row(0, named=True)
    scipys = stats.bootstrap((values[0],), np.mean, method="percentile", n_resamples=8000, rng=2)
    assert row["low"] == pytest.approx(scipys.confidence_interval.low, abs=0.003)
    assert row["high"] == pytest.approx(scipys.confidence_interval.high, abs=0.003)


def test_seed_noise_has_the_variance_between_seeds_and_is_independent_per_backbone():
    # Within a seed no spread, ±0.1 between the two: variance 0.02, of their mean 0.01.
    values = np.full((200, 2, 50), 0.0)
    values[:, 0], values[:, 1] = 0.4, 0.6
    values[0, :, 0], values[1, :, 0] = 0, 1  # Else all values lie between 0.4 and 0.6, where means are kept.
    drawn = replicate_means({"t": values}, list(map(str, range(200))), num_replicates=500).resampled[:, 2:, 0]
    assert drawn.std() == pytest.approx(0.1, rel=0.03)
    assert abs(np.corrcoef(drawn.T)[np.triu_indices(198, 1)].mean()) < 0.01


@pytest.mark.parametrize("statistics_of", [example_means, as_functions])
def test_sampling_variance_between_seeds_is_not_counted_twice(statistics_of):
    # Right with P = 0.5 on every example, in every seed: seeds' means differ, the expected score does not.
    values = (np.random.default_rng(0).random((50, 4, 400)) < 0.5).astype(float)
    names = list(map(str, range(50)))

    def variance(values):
        return replicate({"t": statistics_of(values)}, names, num_replicates=300).resampled.var(axis=0).mean()

    of_examples = 0.25 / (4 * 400)
    assert variance(values) == pytest.approx(of_examples, rel=0.15)
    offsets = np.linspace(-0.1, 0.1, 4)
    moved = variance(values + offsets[:, None])
    assert moved == pytest.approx(of_examples + offsets.var(ddof=1) / 4, rel=0.1)


def test_two_seeds_without_examples_give_students_interval():
    scores = np.array([[[0.4], [0.6]], [[0.3], [0.5]]])  # Two backbones, two seeds: 2 degrees of freedom.
    found = score_intervals(replicate_means({"t": scores}, ["a", "b"], num_replicates=20_000)).row(
        0, named=True
    )
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=np.sqrt(0.02 / 2))
    assert found["low"] == pytest.approx(low, abs=0.02)
    assert found["high"] == pytest.approx(high, abs=0.02)


def test_intervals_centre_on_all_seeds_and_narrow_with_their_number():
    several, lone = np.array([[0.3], [0.4], [0.5], [0.6]]), np.array([[0.9]])
    drawn = replicate_means({"t": [several, lone]}, ["a", "b"], num_replicates=20_000)
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
    found = win_probabilities(replicate_means({"t": np.stack([a, b])}, ["a", "b"], num_replicates=500))
    assert found.filter(backbone="b")["probability"].item() > 0.98


def test_the_same_seed_gives_the_same_replicates_and_another_others():
    per_example = {"t": correct([0.4, 0.6], 50)}
    first, again, other = (
        replicate_means(per_example, "ab", num_replicates=9, seed=s).resampled for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_wrong_shape_and_bad_values_are_refused():
    with pytest.raises(EmptyInputError, match="at least one task"):
        replicate_means({}, ["a"])
    with pytest.raises(EmptyInputError, match="expected 3 backbones"):
        replicate_means({"t": np.zeros((2, 5))}, list("abc"))
    with pytest.raises(EmptyInputError, match="the same examples"):
        replicate_means({"t": [np.zeros(5), np.zeros(4)]}, list("ab"))
    for bad in (np.nan, np.inf):
        for statistics_of in (example_means, as_functions):
            with pytest.raises(NonFiniteMeasurementError, match="'t' hold NaN or infinity"):
                replicate({"t": statistics_of(np.array([[0.5, bad]]))}, ["a"])


def test_values_of_which_lower_is_better_are_negated():
    values = np.random.default_rng(0).random((2, 3, 40))
    found = [
        replicate({"t": statistics_of(values)}, "ab", lower_is_better=["t"], num_replicates=20)
        for statistics_of in (example_means, as_functions)
    ]
    for drawn in found:
        assert drawn.estimates[:, 0] == pytest.approx(-values.mean(axis=(1, 2)))
        assert (drawn.resampled < 0).all()
    negated = replicate_means({"t": -values}, "ab", num_replicates=20)
    assert np.array_equal(found[0].resampled, negated.resampled)


def brute_force(
    statistics: Sequence[Statistic], from_scratch: Callable[[int, np.ndarray], float], n: int
) -> Replicates:
    """Replicates of one seed per backbone, each checked against the metric of the examples drawn.

    Args:
        statistics: one per backbone.
        from_scratch: (backbone, indices of the examples drawn) → value.
        n: number of examples.
    """
    draws: list[np.ndarray] = []

    def spy(weights: np.ndarray) -> float:
        draws.append(np.repeat(np.arange(n), weights.astype(int)))
        return 0.0

    names = [str(b) for b in range(len(statistics))]
    watched = [[statistic] for statistic in statistics] + [[WeightedFunction(n, spy)]]
    found = replicate({"t": watched}, [*names, "spy"], num_replicates=200, seed=3)
    all_examples, draws = draws[0], draws[1:]
    values = np.array([[from_scratch(b, drawn) for b in range(len(names))] for drawn in draws])
    is_defined = ~np.isnan(values).any(axis=1)
    assert found.estimates[:-1, 0] == pytest.approx(
        [from_scratch(b, all_examples) for b in range(len(names))]
    )
    # Undefined draws are replaced by later ones, in order within a block: compare as sets of rows.
    expected = values[is_defined]
    assert len(expected) == len(found.resampled)
    order, other = (np.lexsort(rows.T) for rows in (found.resampled[:, :-1, 0].round(9), expected.round(9)))
    assert found.resampled[order, :-1, 0] == pytest.approx(expected[other])
    return found


def test_a_ratio_of_sums_is_the_metric_of_the_examples_drawn_from_scratch():
    # mIoU: intersections and unions of 5 classes per image; class 3 is in few images, class 4 in none.
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (30, 64))
    truth[:2, :10] = 3
    predicted = [
        np.where(rng.random(truth.shape) < p, truth, rng.integers(0, 3, truth.shape)) for p in (0.5, 0.8)
    ]

    def counts(answers):
        classes = np.arange(5)[:, None, None]
        is_true, is_answer = truth == classes, answers == classes
        return (is_true & is_answer).sum(axis=2).T, (is_true | is_answer).sum(axis=2).T

    def miou(backbone, drawn):
        pixels, answers = truth[drawn].ravel(), predicted[backbone][drawn].ravel()
        ious = [
            ((pixels == c) & (answers == c)).sum() / ((pixels == c) | (answers == c)).sum()
            for c in range(5)
            if ((pixels == c) | (answers == c)).any()
        ]
        return float(np.mean(ious))

    found = brute_force([RatioOfSums(*counts(answers)) for answers in predicted], miou, len(truth))
    assert found.resampled[:, 0].std() > 0.01  # Draws with and without class 3 are both there.


@pytest.mark.parametrize("num_positives", [1, 8])
def test_a_weighted_function_is_the_metric_of_the_examples_drawn_from_scratch(num_positives):
    # Average precision, undefined on draws without a positive; few distinct scores, so that many tie.
    rng = np.random.default_rng(1)
    is_positive = np.arange(20) < num_positives
    scores = (rng.random((2, 20)) + 0.5 * is_positive).round(1)

    def weighted(backbone):
        values, group = np.unique(-scores[backbone], return_inverse=True)

        def average_precision(weights):
            hits = np.bincount(group, weights * is_positive, len(values))
            precision = hits.cumsum() / np.maximum(np.bincount(group, weights, len(values)).cumsum(), 1)
            return float(hits @ precision / hits.sum()) if hits.sum() else float("nan")

        return WeightedFunction(20, average_precision)

    def from_scratch(backbone, drawn):
        truth = is_positive[drawn]
        return average_precision_score(truth, scores[backbone][drawn]) if truth.any() else float("nan")

    brute_force([weighted(0), weighted(1)], from_scratch, 20)


def test_a_mean_is_drawn_alike_as_a_mean_a_ratio_and_a_function():
    values = np.random.default_rng(2).random((3, 50))
    ratios = [[RatioOfSums(row[:, None], np.ones((50, 1)))] for row in values]
    drawn = [
        replicate({"t": statistics}, "abc", num_replicates=40).resampled
        for statistics in (example_means(values), as_functions(values), ratios)
    ]
    assert drawn[1] == pytest.approx(drawn[0], abs=1e-6)  # Means are summed in single precision.
    assert drawn[2] == pytest.approx(drawn[1])


def test_a_value_undefined_on_nearly_every_draw_is_refused():
    # Defined only where all 30 examples are drawn once.
    rare = WeightedFunction(30, lambda w: 0.5 if (w == 1).all() else float("nan"))
    with pytest.raises(NonFiniteMeasurementError, match="'t' is undefined on nearly every draw of its 30"):
        replicate({"t": [[rare]]}, ["a"], num_replicates=2)


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
        replicates = replicate_means(per_example, "abcd", num_replicates=400, seed=world)
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
