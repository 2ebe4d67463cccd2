"""The evaluator `selective`: accuracy when the least confident predictions are rejected."""

from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings


class SelectiveSettings(EvaluatorSettings):
    """Coverages at which accuracy is reported."""

    coverages: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    """Fractions of test images that are not rejected, in (0, 1]."""

    def __post_init__(self) -> None:
        if not all(0 < coverage <= 1 for coverage in self.coverages):
            raise ValueError(f"coverages must lie in (0, 1], got {self.coverages}")
        if len({f"{coverage:g}" for coverage in self.coverages}) < len(self.coverages):
            raise ValueError(f"every coverage once (six digits are told apart), got {self.coverages}")


INFO = EvaluatorInfo(
    name="selective",
    entry_point="raybench.evaluation.selective:selective",
    needs="predictions",
    metrics=("aurc", "accuracy_at_coverage"),
    headline="aurc",
    section="Selective prediction",
    settings=SelectiveSettings,
    presets={"standard": SelectiveSettings()},
    curves=(
        CurveInfo(
            name="risk_coverage",
            title="Risk and coverage on test",
            x="coverage",
            y="risk",
            x_title="share of images answered",
            y_title="error rate",
        ),
    ),
    doc="How does the error rate fall as the least confident predictions (maximum softmax) are rejected?",
)
