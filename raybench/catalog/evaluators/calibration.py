"""The evaluator `calibration`: do confidences equal accuracies?"""

from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings


class CalibrationSettings(EvaluatorSettings):
    """No settings; the number of bins is 15, as is common."""


INFO = EvaluatorInfo(
    name="calibration",
    entry_point="raybench.evaluation.calibration:calibration",
    needs="predictions",
    metrics=("ece", "mce", "adaptive_ece", "classwise_ece", "brier", "nll", "temperature"),
    headline="ece",
    section="Calibration",
    settings=CalibrationSettings,
    presets={"paper": CalibrationSettings()},
    curves=(
        CurveInfo(
            name="reliability",
            title="Reliability on test",
            x="confidence",
            y="accuracy",
            x_title="confidence",
            y_title="accuracy",
            series="condition",
            has_panel_per_series=True,
            has_diagonal=True,
            counts="count",
        ),
    ),
    doc="Does a confidence of 0.8 mean right in 80 of 100 cases, before and after temperature scaling?",
)
