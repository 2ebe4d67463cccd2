"""The evaluator `shift`: accuracy on shifted test sets of the same classes."""

from typing import ClassVar

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings


class ShiftSettings(EvaluatorSettings):
    """No settings: the shifted test sets of a dataset are stated in its row (`shifts`).

    Version 2 measures accuracy on a set with a second cue only where the two cues differ.
    """

    version: ClassVar[int] = 2
    reads_shifts: ClassVar[bool] = True


INFO = EvaluatorInfo(
    name="shift",
    entry_point="raybench.evaluation.shift:shift",
    needs="images",
    metrics=("accuracy", "accuracy_gap", "shape_bias", "shift_accuracy"),
    headline="shift_accuracy",
    section="Distribution shift",
    settings=ShiftSettings,
    presets={"paper": ShiftSettings()},
    doc="How much of the accuracy is left on shifted test sets (sketches, renditions, other cameras)?",
)
