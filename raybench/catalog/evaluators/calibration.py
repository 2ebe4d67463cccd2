"""The evaluator `calibration`: do confidences equal accuracies?"""

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings


class CalibrationSettings(EvaluatorSettings):
    """No settings; the number of bins is 15, as is common."""


INFO = EvaluatorInfo(
    name="calibration",
    entry_point="raybench.evaluation.calibration:calibration",
    needs="predictions",
    metrics=("ece", "mce", "adaptive_ece", "classwise_ece", "brier", "nll", "temperature"),
    headline="ece",
    settings=CalibrationSettings,
    presets={"paper": CalibrationSettings()},
    doc="Does a confidence of 0.8 mean right in 80 of 100 cases, before and after temperature scaling?",
)
