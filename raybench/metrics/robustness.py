"""Metrics of the evaluator `adversarial`."""

from raybench.metrics.registry import declare

declare(
    "robust_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    doc="Share of images that are recognised and that the attack could not turn into another class.",
)
declare(
    "mean_robust_accuracy",
    direction="max",
    bounds=(0.0, 1.0),
    doc="Mean of the robust accuracies over the attack's radii.",
)
declare(
    "median_perturbation",
    direction="max",
    bounds=(0.0, float("inf")),
    doc="Median L2 length of the smallest perturbation found that changes the answer; 0 where it is wrong.",
)
