"""The evaluator `selective`: accuracy if the least confident answers are left out."""

import numpy as np

from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.condition import CLEAN, Condition
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.outcomes import Evaluation, MetricResult
from raybench.metrics.selective import accuracy_at_coverage, area_under_risk_coverage, risk_coverage

CURVE_POINTS = 100


def selective(fitted: FittedClassifier, settings: SelectiveSettings) -> Evaluation:
    """AURC and accuracy at the given coverages on test, from the predictions; the curve `risk_coverage`."""
    test = fitted.predictions["test"]
    values = [("aurc", CLEAN, area_under_risk_coverage(test.logits, test.targets))]
    for coverage in settings.coverages:
        value = accuracy_at_coverage(test.logits, test.targets, coverage)
        values.append(("accuracy_at_coverage", Condition("coverage", f"{coverage:g}"), value))
    coverages, risks = risk_coverage(test.logits, test.targets)
    shown = np.unique(np.linspace(0, len(risks) - 1, CURVE_POINTS).round().astype(int))
    return Evaluation(
        results=tuple(
            MetricResult(metric=metric, condition=condition, value=value, num_examples=len(test.targets))
            for metric, condition, value in values
        ),
        curves={
            "risk_coverage": tuple({"coverage": float(coverages[i]), "risk": float(risks[i])} for i in shown)
        },
    )
