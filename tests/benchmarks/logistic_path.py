"""Logistic regression for 40 regularisation strengths: warm-started path against scikit-learn's cold fits."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.linear_probe import linear_probe
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import context_of, make_features

HPARAMS = {"solver": "lbfgs", "feature_norm": "standardize"}
TOLERANCE = 0.005


def measure(quick: bool) -> list[Ratio]:
    num_examples, num_features, num_classes = (1_000, 64, 10) if quick else (4_000, 256, 20)
    splits = {
        "train": make_features(num_examples, num_features, num_classes, seed=0, noise=7.0),
        "val": make_features(2_000, num_features, num_classes, seed=1, noise=7.0),
    }
    context = context_of(splits, num_classes)
    strengths = [float(c) for c in PROTOCOLS["linear_probe"].packed_grid(HPARAMS)["inverse_l2"]]
    accuracies: dict[str, list[float]] = {}

    def ours() -> None:
        rung = list(linear_probe(context, HPARAMS, 0, 1).run_epochs())[-1]
        accuracies["ours"] = [float(cell["accuracy"]) for cell in rung.grid]

    def theirs() -> None:
        scaler = StandardScaler().fit(splits["train"].features)
        train, val = scaler.transform(splits["train"].features), scaler.transform(splits["val"].features)
        accuracies["theirs"] = [
            float(
                LogisticRegression(C=strength, max_iter=1000)
                .fit(train, splits["train"].targets)
                .score(val, splits["val"].targets)
            )
            for strength in strengths
        ]

    spent = in_turn({"ours": ours, "theirs": theirs}, rounds=1 if quick else 3)
    num_fits = len(accuracies["ours"])
    same_c = np.abs(np.subtract(accuracies["ours"], accuracies["theirs"][:num_fits])).max()
    best = {side: max(values) for side, values in accuracies.items()}
    gap = max(float(same_c), abs(best["ours"] - best["theirs"]))
    return [
        Ratio(
            name="40 regularisation strengths",
            ours="warm-started path with early stopping",
            theirs="scikit-learn, 40 cold fits",
            target=1 / 3.5,
            measured=spent["ours"] / spent["theirs"],
            gate=f"best val accuracy {best['ours']:.4f} and {best['theirs']:.4f}; at equal C within "
            f"{same_c:.4f}",
            is_gate_passed=gap <= TOLERANCE,
            note=f"The path stopped after {num_fits} of 40 strengths: eight in a row did not improve val.",
            numbers={f"{side}_cpu_seconds": value for side, value in spent.items()},
        )
    ]
