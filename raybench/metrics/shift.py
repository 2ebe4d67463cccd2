"""Metrics of the evaluator `shift`: accuracy on images of the same classes from another source."""

from raybench.metrics.registry import declare
from raybench.metrics.resampling import NotResampled

NOT_STORED = NotResampled("predictions on shifted test sets are not stored")

declare(
    "shift_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Accuracy on shifted test sets, averaged over the sets.",
)
declare(
    "accuracy_gap",
    direction="min",
    bounds=(-1.0, 1.0),
    resampling=NOT_STORED,
    doc="Clean accuracy on the classes of a shifted set, minus the accuracy on that set.",
)
declare(
    "shape_bias",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Share of shape decisions among the cue-conflict images that are classified by shape or by texture.",
)
