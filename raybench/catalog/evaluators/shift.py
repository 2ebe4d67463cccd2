"""The evaluator `shift`: other sources of the same classes, as dataset rows name them."""

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings


class ShiftSettings(EvaluatorSettings):
    """Nothing to set: which sets are shifted versions of a dataset is a fact of its row (`shifts`)."""


INFO = EvaluatorInfo(
    name="shift",
    entry_point="raybench.evaluation.shift:shift",
    needs="images",
    metrics=("accuracy", "accuracy_gap", "shape_bias", "shift_accuracy"),
    headline="shift_accuracy",
    settings=ShiftSettings,
    presets={"paper": ShiftSettings()},
    doc="How much of the accuracy is left on shifted test sets (sketches, renditions, other cameras)?",
)
