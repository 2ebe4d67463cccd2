"""Metrics of the evaluator `shift`: what another source of the same classes does to a classifier."""

from raybench.metrics.registry import declare

declare(
    "shift_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    doc="Mean over shifted test sets of the share of images whose class is recognised.",
)
declare(
    "accuracy_gap",
    direction="min",
    bounds=(-1.0, 1.0),
    doc="Clean accuracy on the classes of a shifted set, minus the accuracy on that set.",
)
declare(
    "shape_bias",
    direction="max",
    bounds=(0.0, 1.0),
    doc="Of the cue-conflict images named by one of their two cues, the share named by their shape.",
)
