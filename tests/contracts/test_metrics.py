"""Contract of every metric. A new metric fails here until CASES holds its values worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.evaluation.temperature import fit_temperature
from raybench.metrics import METRICS, ArrayMetric, NotResampled, corruption, ood, robustness, selective, shift
from raybench.metrics.retrieval import RETRIEVAL_METRICS, retrieval_means, retrieval_values

OWN = [name for name in METRICS if METRICS.origin(name) == "raybench"]
OF_ARRAYS = [name for name in OWN if isinstance(METRICS[name], ArrayMetric)]
RESAMPLED = [name for name in OF_ARRAYS if not isinstance(METRICS[name].resampling, NotResampled)]
INF = math.inf


@dataclass(frozen=True, kw_only=True)
class Case:
    """Inputs of a metric and its value, for a perfect, the worst and an uninformative model."""

    measure: Callable[..., Any] | None = None
    """Inputs → value; None for metrics of logits and targets."""
    direction: str
    bounds: tuple[float, float]
    perfect: tuple[tuple[Any, ...], float]
    worst: tuple[tuple[Any, ...], float]
    chance: tuple[tuple[Any, ...], float]
    refused: tuple[tuple[tuple[Any, ...], type[Exception]], ...] = ()
    """Inputs that are empty or not finite, and the error; metrics of logits and targets have REFUSED."""


CLASSES = np.arange(10)
RIGHT = (1e3 * np.eye(10), CLASSES)  # Ten classes, one example each; e^−1000 is 0 in float64.
WRONG = (1e3 * np.eye(10)[(CLASSES + 1) % 10], CLASSES)
LAST = (-1e3 * np.eye(10), CLASSES)  # The true class is the least likely of ten.
TWO_WRONG = (1e3 * np.eye(2)[[1, 0]], np.array([0, 1]))
UNIFORM = (np.zeros((10, 10)), CLASSES)  # The answer is class 0 for all; right once, with confidence 1/10.
RANKED = (np.tile(np.arange(10.0), (10, 1)), CLASSES)  # One ranking of the classes for all images.
EMPTY, NAN = np.array([]), np.array([math.nan, 0.0])
SCORES = (np.array([2.0, 3.0]), np.array([0.0, 1.0]))
H200 = sum(1 / rank for rank in range(1, 201))
ONE_FIRST, ONE_LAST = ([0],), ([199],)  # One query with one positive in a gallery of 200.
ANYWHERE = tuple([rank] for rank in range(200))  # The positive at each of the 200 ranks once.
ALL_FIRST = (range(100),)  # A hundred positives, all before the rest.


def retrieval(name: str) -> Callable[..., float]:
    """The metric's mean over queries, each given by the ranks of its positives."""

    def measure(*queries: Any) -> float:
        values = [retrieval_values(np.array(ranks, dtype=np.int64)) for ranks in queries]
        return retrieval_means({key: np.array([v[key] for v in values]) for key in RETRIEVAL_METRICS})[name]

    return measure


def per_query(name: str, worst: float, chance: float, *, perfect: tuple[Any, ...] = ONE_FIRST) -> Case:
    return Case(
        measure=retrieval(name),
        direction="max",
        bounds=(0, 1),
        perfect=(perfect, 1),
        worst=(ONE_LAST, worst),
        chance=(ANYWHERE, chance),
        refused=((([], []), EmptyInputError),),
    )


def mean_of_fractions(measure: Callable[..., float], **changes: Any) -> Case:
    """A mean of accuracies: 1, 0, and that of guessing one class of ten."""
    best, worst, chance = changes.pop("values", (1, 0, 0.1))
    inputs = [([1.0, 1.0],), ([0.0, 0.0],), ([0.1, 0.1],)]
    fields = {"direction": "max", "bounds": (0, 1), **changes}
    return Case(
        measure=measure,
        perfect=(inputs[0], best),
        worst=(inputs[1], worst),
        chance=(inputs[2], chance),
        refused=((([],), EmptyInputError), (([math.nan],), NonFiniteMeasurementError)),
        **fields,
    )


def of_classes(
    direction: str,
    worst: float,
    chance: float,
    *,
    wrong: Any = WRONG,
    guess: Any = UNIFORM,
    bounds: tuple[float, float] = (0, 1),
) -> Case:
    """A metric of logits and targets: 1 where higher is better and 0 where lower is, on RIGHT."""
    return Case(
        direction=direction,
        bounds=bounds,
        perfect=(RIGHT, 1 if direction == "max" else 0),
        worst=(wrong, worst),
        chance=(guess, chance),
    )


CASES: dict[str, Case] = {
    "accuracy": of_classes("max", 0, 1 / 10),
    "top5_accuracy": of_classes("max", 0, 5 / 10, wrong=LAST, guess=RANKED),
    "mean_class_accuracy": of_classes("max", 0, 1 / 10),
    "nll": of_classes("min", 1000, math.log(10), bounds=(0, INF)),
    "brier": of_classes("min", 2, 1 - 1 / 10, bounds=(0, 2)),
    # Sure and wrong: confidence 1, accuracy 0. Uniform: confidence 1/10 and accuracy 1/10 agree.
    "ece": of_classes("min", 1, 0),
    "mce": of_classes("min", 1, 0),
    "adaptive_ece": of_classes("min", 1, 0),
    "classwise_ece": of_classes("min", 1, 0, wrong=TWO_WRONG),
    "aurc": of_classes("min", 1, 1 - 1 / 10),
    "accuracy_at_coverage": Case(
        measure=lambda logits, targets: selective.accuracy_at_coverage(logits, targets, 0.5),
        direction="max",
        bounds=(0, 1),
        perfect=(RIGHT, 1),
        worst=(WRONG, 0),
        chance=(UNIFORM, 1 / 10),
        refused=(((np.zeros((0, 2)), EMPTY), EmptyInputError),),
    ),
    # Two classes at log-odds log 3: confidence 3/4, and right in 3 of 4 cases. Twice the logits: T = 2.
    "temperature": Case(
        measure=fit_temperature,
        direction="min",
        bounds=(0, INF),
        perfect=((np.array([[math.log(3), 0.0]] * 4), np.array([0, 0, 0, 1])), 1),
        worst=((np.array([[8 * math.log(3), 0.0]] * 4), np.array([0, 0, 0, 1])), 8),
        chance=((np.array([[2 * math.log(3), 0.0]] * 4), np.array([0, 0, 0, 1])), 2),
    ),
    "map": per_query("map", 1 / 200, H200 / 200),
    # By the trapezoid rule a positive at rank r > 0 is worth half of 1 / (r + 1), one at rank 0 is worth 1.
    "map_trapezoid": per_query("map_trapezoid", 1 / 400, (1 + (H200 - 1) / 2) / 200),
    "mrr": per_query("mrr", 1 / 200, H200 / 200),
    "r_precision": per_query("r_precision", 0, 1 / 200),
    **{f"recall_at_{k}": per_query(f"recall_at_{k}", 0, k / 200) for k in (1, 5, 10, 100)},
    **{f"hit_at_{k}": per_query(f"hit_at_{k}", 0, k / 200) for k in (1, 5, 10, 100)},
    # The positive is among the first k in k of 200 queries, and then one of k results.
    **{
        f"precision_at_{k}": per_query(f"precision_at_{k}", 0, 1 / 200, perfect=ALL_FIRST)
        for k in (1, 5, 10, 100)
    },
    "queries_without_positives": Case(
        measure=retrieval("queries_without_positives"),
        direction="min",
        bounds=(0, INF),
        perfect=(([0], [3]), 0),
        worst=(([0], [], []), 2),
        chance=(([0], []), 1),
    ),
    "ood_auroc": Case(
        measure=ood.auroc,
        direction="max",
        bounds=(0, 1),
        perfect=(SCORES, 1),
        worst=(SCORES[::-1], 0),
        chance=((np.zeros(3), np.zeros(2)), 1 / 2),
        refused=(((EMPTY, SCORES[0]), EmptyInputError), ((SCORES[0], NAN), NonFiniteMeasurementError)),
    ),
    "fpr95": Case(
        measure=ood.fpr95,
        direction="min",
        bounds=(0, 1),
        perfect=(SCORES, 0),
        worst=(SCORES[::-1], 1),
        chance=((np.arange(100.0), np.arange(100.0)), 0.95),
        refused=(((SCORES[0], EMPTY), EmptyInputError), ((NAN, SCORES[0]), NonFiniteMeasurementError)),
    ),
    "mean_ood_auroc": mean_of_fractions(ood.mean_auroc),
    "corruption_accuracy": mean_of_fractions(corruption.corruption_accuracy),
    "mean_corruption_error": mean_of_fractions(
        corruption.mean_corruption_error, direction="min", values=(0, 1, 0.9)
    ),
    # Errors of 0, 1 and 0.9 where AlexNet's are 0.5: twice as large.
    "alexnet_normalized_mce": mean_of_fractions(
        lambda accuracies: corruption.alexnet_normalized_mce(accuracies, [0.5] * len(accuracies)),
        direction="min",
        bounds=(0, INF),
        values=(0, 2, 1.8),
    ),
    # Of a classifier without a clean error; one that guesses under corruption.
    "relative_corruption_error": mean_of_fractions(
        lambda accuracies: corruption.relative_corruption_error(accuracies, 0.0),
        direction="min",
        bounds=(-1, 1),
        values=(0, 1, 0.9),
    ),
    # Under the second of two radii: none broken; all broken by the first; nine of ten misclassified anyway.
    "robust_accuracy": Case(
        measure=lambda broken_at: robustness.robust_accuracy(np.array(broken_at), 1),
        direction="max",
        bounds=(0, 1),
        perfect=(([2] * 10,), 1),
        worst=(([0] * 10,), 0),
        chance=(([2] + [-1] * 9,), 0.1),
        refused=((([],), EmptyInputError),),
    ),
    "mean_robust_accuracy": mean_of_fractions(robustness.mean_robust_accuracy),
    # No image can be changed; all are misclassified anyway; two of three are changed by moves of 1 and 3.
    "median_perturbation": Case(
        measure=robustness.median_perturbation,
        direction="max",
        bounds=(0, INF),
        perfect=((np.full(3, INF),), INF),
        worst=((np.zeros(3),), 0),
        chance=((np.array([1.0, INF, 3.0]),), 3),
        refused=(((EMPTY,), EmptyInputError), ((NAN,), NonFiniteMeasurementError)),
    ),
    "shift_accuracy": mean_of_fractions(shift.shift_accuracy),
    "accuracy_gap": Case(
        measure=shift.accuracy_gap,
        direction="min",
        bounds=(-1, 1),
        perfect=((0.0, 1.0), -1),
        worst=((1.0, 0.0), 1),
        chance=((0.1, 0.1), 0),
    ),
    # Answers of four images with the shape of class 0 and the texture of class 1; both guessed equally often.
    "shape_bias": Case(
        measure=lambda answers: shift.shape_bias(np.array(answers), np.zeros(4), np.ones(4))[0],
        direction="max",
        bounds=(0, 1),
        perfect=(([0, 0, 0, 2],), 1),
        worst=(([1, 1, 1, 2],), 0),
        chance=(([0, 1, 2, 3],), 1 / 2),
    ),
}

NOT_AT_BOUND = {
    "temperature": "calibrated logits need none: 1 lies inside the bounds",
    "relative_corruption_error": "without a clean error there is nothing below 0",
}
"""Metrics whose perfect value is not their best bound, and why."""
CHANCE_IS_PERFECT = {"ece", "mce", "adaptive_ece", "classwise_ece"}
"""Guessing with the confidence of guessing is calibrated."""

REFUSED = [
    ((np.zeros((0, 3)), np.zeros(0, np.int64)), EmptyInputError, "at least one example"),
    ((np.zeros((2, 0)), np.zeros(2, np.int64)), EmptyInputError, "at least one example"),
    ((np.array([[math.nan, 0.0]]), np.array([0])), NonFiniteMeasurementError, "NaN or infinite"),
    ((np.array([[math.inf, 0.0]]), np.array([0])), NonFiniteMeasurementError, "NaN or infinite"),
    ((np.zeros((2, 2)), np.array([0, 2])), ValueError, r"targets in \[0, 2\)"),
    ((np.zeros((2, 2)), np.zeros(3, np.int64)), ValueError, r"shapes \[2, 2\] and \[3\]"),
]


def value_of(name: str, inputs: tuple[Any, ...]) -> float:
    metric = METRICS[name]
    measure = CASES[name].measure
    if measure is None:
        assert isinstance(metric, ArrayMetric)
        measure = metric.compute
    return float(measure(*inputs))


def drawn(seed: int, *, num_examples: int = 60, num_classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits on a coarse grid, so that many are equal, and targets; the last class has no example."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-2, 3, (num_examples, num_classes)).astype(np.float32)
    return logits, rng.integers(num_classes - 1, size=num_examples)


def test_every_metric_has_its_case():
    assert set(CASES) == set(OWN)
    assert [name for name in OWN if CASES[name].measure is None] == OF_ARRAYS


@pytest.mark.parametrize("name", OWN)
def test_direction_and_bounds_are_as_worked_out(name):
    assert METRICS[name].direction == CASES[name].direction
    assert METRICS[name].bounds == CASES[name].bounds


@pytest.mark.parametrize("model", ["perfect", "worst", "chance"])
@pytest.mark.parametrize("name", OWN)
def test_values_are_as_worked_out_and_within_bounds(name, model):
    inputs, expected = getattr(CASES[name], model)
    value = value_of(name, inputs)
    assert value == pytest.approx(expected, rel=1e-4 if name == "temperature" else 1e-12, abs=1e-12)
    low, high = METRICS[name].bounds
    assert low <= value <= high


@pytest.mark.parametrize("name", OWN)
def test_a_perfect_model_is_best_and_chance_lies_between(name):
    metric, case = METRICS[name], CASES[name]
    perfect, worst, chance = (getattr(case, model)[1] for model in ("perfect", "worst", "chance"))
    assert (perfect == metric.best) != (name in NOT_AT_BOUND)
    assert metric.is_better(chance, than=worst)
    assert metric.is_better(perfect, than=chance) != (name in CHANCE_IS_PERFECT)


@pytest.mark.parametrize("name", OWN)
def test_empty_and_non_finite_input_is_refused(name):
    for inputs, error in CASES[name].refused:
        with pytest.raises(error):
            value_of(name, inputs)


@pytest.mark.parametrize("case", REFUSED, ids=["no examples", "no classes", "nan", "inf", "target", "shapes"])
@pytest.mark.parametrize("name", OF_ARRAYS)
def test_arrays_that_disagree_are_refused_by_name(name, case):
    inputs, error, message = case
    with pytest.raises(error, match=f"^{name} .*{message}"):
        METRICS[name].compute(*inputs)


@pytest.mark.parametrize("name", OF_ARRAYS)
@pytest.mark.parametrize("seed", range(3))
def test_values_of_random_logits_are_within_the_bounds(name, seed):
    rng = np.random.default_rng(seed)
    value = METRICS[name].compute(rng.normal(scale=30, size=(40, 7)), rng.integers(7, size=40))
    low, high = METRICS[name].bounds
    assert low <= value <= high


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_the_order_of_the_examples_does_not_matter(name):
    logits, targets = drawn(0)
    order = np.random.default_rng(1).permutation(len(targets))
    compute = METRICS[name].compute
    assert compute(logits, targets) == pytest.approx(compute(logits[order], targets[order]), abs=1e-9)


@pytest.mark.parametrize("name", RESAMPLED)
@pytest.mark.parametrize("seed", range(3))
def test_the_resampled_statistic_is_the_metric_of_the_examples_drawn(name, seed):
    logits, targets = drawn(seed)
    counts = np.random.default_rng(seed).multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    weights = np.concatenate([np.ones((1, 60)), counts])
    statistic = METRICS[name].resampling(logits, targets)
    assert statistic.num_examples == 60
    drawn_from_scratch = [np.repeat(np.arange(60), row.astype(int)) for row in weights]
    expected = [METRICS[name].compute(logits[rows], targets[rows]) for rows in drawn_from_scratch]
    assert statistic.at(weights) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", RETRIEVAL_METRICS)
def test_the_statistic_of_values_per_query_is_their_mean(name):
    values = np.array([retrieval_values(np.array([rank]))[name] for rank in (0, 3, 7)])
    statistic = METRICS[name].resampling(values)
    assert statistic.at(np.array([[1, 1, 1], [3, 0, 0]])) == pytest.approx([values.mean(), values[0]])


@pytest.mark.parametrize("name", OWN)
def test_a_metric_is_resampled_or_says_why_not(name):
    resampling = METRICS[name].resampling
    if isinstance(resampling, NotResampled):
        assert resampling.reason
        assert resampling.reason[0].islower()
        assert not resampling.reason.endswith(".")  # It is the end of a sentence's part.
    else:
        assert name in {*RESAMPLED, *RETRIEVAL_METRICS}


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_docstring_names_arguments_range_and_source(name):
    doc = METRICS[name].compute.__doc__
    assert all(part in doc for part in ("Args:", "Returns:", "Source:", ">>>"))


@pytest.mark.parametrize("name", OWN)
def test_a_metric_is_described_in_a_sentence(name):
    assert METRICS[name].doc
    assert METRICS[name].doc.endswith(".")


@pytest.mark.parametrize("name", OWN)
def test_names_are_allowed_as_mlflow_keys(name):
    assert name.replace("_", "").isalnum()
