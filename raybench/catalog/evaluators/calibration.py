"""The evaluator `calibration`: does a confidence of 0.8 mean right in 80 of 100 cases?"""

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings


class CalibrationSettings(EvaluatorSettings):
    """Nothing to set: the bin count is the field's (15)."""


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
