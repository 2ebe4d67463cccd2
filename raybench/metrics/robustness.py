"""Metrics of the evaluator `adversarial`."""

from raybench.metrics.registry import declare
from raybench.metrics.resampling import NotResampled

NOT_STORED = NotResampled("outcomes of attacks on single images are not stored")

declare(
    "robust_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Share of images still classified correctly after the attack: an upper bound under the worst case.",
)
declare(
    "mean_robust_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    resampling=NOT_STORED,
    doc="Mean robust accuracy over radii: under all attacks of a norm if APGD was run, else per attack.",
)
declare(
    "median_perturbation",
    direction="max",
    bounds=(0.0, float("inf")),
    resampling=NOT_STORED,
    doc="Median L2 norm of the smallest perturbation found that changes the answer; 0 for wrong answers.",
)
