"""52 heads on 100 and 1,000 classes, the weaker ones dropped, against one head and against the whole pack."""

from collections.abc import Mapping

from raybench.core.records import HparamValue
from raybench.evaluation import halving
from raybench.evaluation.linear_probe import linear_probe
from raybench.evaluation.outcomes import EpochResult
from raybench.features.store import FeatureSet
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import context_of, make_features

EPOCHS = 10
TOLERANCE = 0.002
TARGET = 8.0
NEVER = 10**9
CELL = {"lr": 0.1, "weight_decay": 1e-4}
"""The head trained alone."""


def measure(quick: bool) -> list[Ratio]:
    """Cost on 512 features; the accuracy is compared with the whole pack on fewer, where that is feasible."""
    num_examples, num_features = (5_120, 128) if quick else (25_600, 512)
    rows = []
    for num_classes, noise, compared in ((100, 6.0, (10_000, 256, 4.0)), (1_000, 4.0, (5_000, 128, 3.0))):
        splits = _splits(num_examples, num_features, num_classes, noise)
        size, width, other_noise = (2_560, 64, 3.0) if quick else compared
        smaller = _splits(size, width, num_classes, other_noise)
        rows += [_compare(solver, num_classes, splits, smaller, quick) for solver in ("sgd", "adamw")]
    return rows


def _splits(num_examples: int, num_features: int, num_classes: int, noise: float) -> dict[str, FeatureSet]:
    sizes = {"train": num_examples, "val": max(2_000, num_examples // 10)}
    return {
        name: make_features(size, num_features, num_classes, seed=seed, noise=noise)
        for seed, (name, size) in enumerate(sizes.items())
    }


def _compare(
    solver: str,
    num_classes: int,
    splits: Mapping[str, FeatureSet],
    smaller: Mapping[str, FeatureSet],
    quick: bool,
) -> Ratio:
    hparams = {"solver": solver, "feature_norm": "standardize", "batch_size": 256, "epochs": EPOCHS}
    spent = in_turn(
        {
            "halved": lambda: _best(splits, num_classes, hparams),
            "one": lambda: _best(splits, num_classes, {**hparams, **CELL}),
        },
        rounds=1 if quick or num_classes == 1_000 else 3,
        warm_up=False,
    )
    halved = _best(smaller, num_classes, hparams).metrics["accuracy"]
    before, halving.SMALL_PACK = halving.SMALL_PACK, NEVER
    try:
        whole = _best(smaller, num_classes, hparams).metrics["accuracy"]
    finally:
        halving.SMALL_PACK = before
    return Ratio(
        name=f"52 heads on {num_classes:,} classes, {solver}",
        ours="a trial of 52 heads that drops the weaker ones",
        theirs="the same trial with one head",
        target=TARGET,
        measured=spent["halved"] / spent["one"],
        gate=f"best val accuracy {halved:.4f}, without dropping {whole:.4f}",
        is_gate_passed=halved >= whole - TOLERANCE,
        numbers={f"{side}_cpu_seconds": value for side, value in spent.items()},
    )


def _best(
    splits: Mapping[str, FeatureSet], num_classes: int, hparams: Mapping[str, HparamValue]
) -> EpochResult:
    best: EpochResult | None = None
    for result in linear_probe(context_of(splits, num_classes), hparams, 0, EPOCHS).run_epochs():
        best = result if result.is_better(best, "accuracy") else best
    assert best is not None
    return best
