"""Metrics of the evaluator `corruption`."""

from raybench.metrics.registry import declare
from raybench.metrics.resampling import NotResampled

NOT_STORED = NotResampled("answers to corrupted images are not stored")

declare(
    "corruption_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Accuracy under one corruption, averaged over severities.",
)
declare(
    "mean_corruption_error",
    direction="min",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Error rate under corruptions, averaged over severities, then corruptions; not divided by AlexNet's.",
)
declare(
    "relative_corruption_error",
    direction="min",
    bounds=(-1.0, 1.0),
    resampling=NOT_STORED,
    doc="Mean corruption error minus the clean error on the same images.",
)
