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
    doc="Error rate under corruptions, averaged over severities, then corruptions except frost.",
)
declare(
    "relative_corruption_error",
    direction="min",
    bounds=(-1.0, 1.0),
    resampling=NOT_STORED,
    doc="Mean corruption error minus the clean error on the same images.",
)
declare(
    "alexnet_normalized_mce",
    direction="min",
    bounds=(0.0, float("inf")),
    resampling=NOT_STORED,
    doc="mCE of ImageNet-C without frost: each corruption's error divided by AlexNet's, then averaged.",
)
