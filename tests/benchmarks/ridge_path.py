"""Ridge regression for 45 penalties with scoring on val, against the same trial with one penalty."""

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from raybench.evaluation.linear_probe import linear_probe
from raybench.features.store import FeatureSet
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import context_of, make_features

HPARAMS = {"solver": "ridge", "feature_norm": "standardize"}
TOLERANCE = 0.0
"""Accuracy of every checked penalty equals scikit-learn's on val."""
CHECKED = (0, 22, 30, 38)


def measure(quick: bool) -> list[Ratio]:
    return [_compare(num_classes, quick) for num_classes in (10, 100, 1_000)]


def _compare(num_classes: int, quick: bool) -> Ratio:
    num_examples, num_features = (4_000, 128) if quick else (20_000, 512)
    splits = {
        "train": make_features(num_examples, num_features, num_classes, seed=0, noise=7.0),
        "val": make_features(num_examples // 10, num_features, num_classes, seed=1, noise=7.0),
    }
    context = context_of(splits, num_classes)
    grid = list(linear_probe(context, HPARAMS, 0, 1).run_epochs())[-1].grid
    one = {**HPARAMS, "ridge_penalty": grid[len(grid) // 2]["ridge_penalty"]}
    spent = in_turn(
        {
            "all": lambda: list(linear_probe(context, HPARAMS, 0, 1).run_epochs()),
            "one": lambda: list(linear_probe(context, one, 0, 1).run_epochs()),
            "scikit_learn_one": lambda: _reference(splits, float(one["ridge_penalty"])),
        },
        rounds=1 if quick else 3,
    )
    gap = max(
        abs(float(grid[i]["accuracy"]) - _reference(splits, float(grid[i]["ridge_penalty"]))) for i in CHECKED
    )
    return Ratio(
        name=f"45 ridge penalties, {num_classes:,} classes",
        ours="a trial that solves and scores all penalties",
        theirs="the same trial with one penalty",
        target=3.5,
        measured=spent["all"] / spent["one"],
        gate=f"val accuracy of {len(CHECKED)} penalties within {gap:.4f} of scikit-learn's",
        is_gate_passed=gap <= TOLERANCE,
        note=f"All penalties cost {spent['all'] / spent['scikit_learn_one']:.2f} of one `RidgeClassifier`.",
        numbers={f"{side}_cpu_seconds": value for side, value in spent.items()},
    )


def _reference(splits: dict[str, FeatureSet], penalty: float) -> float:
    """Val accuracy of scikit-learn's classifier in float64."""
    scaler = StandardScaler().fit(splits["train"].features.astype(np.float64))
    train, val = (scaler.transform(splits[name].features.astype(np.float64)) for name in ("train", "val"))
    fitted = RidgeClassifier(alpha=len(train) * penalty, solver="cholesky").fit(
        train, splits["train"].targets
    )
    return float(fitted.score(val, splits["val"].targets))
