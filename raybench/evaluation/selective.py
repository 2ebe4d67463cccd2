"""The evaluator `selective`: what are the answers worth if the least sure ones may be declined?"""

import numpy as np

from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.condition import Condition
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.subject import Subject
from raybench.metrics.selective import accuracy_at_coverage, area_under_risk_coverage, risk_coverage

CURVE_POINTS = 100


def selective(subject: Subject, settings: SelectiveSettings) -> Evaluation:
    """AURC and accuracy at stated coverages on test, from logits that are there; curve `risk_coverage`."""
    test = subject.predictions["test"]
    found = [("aurc", "clean", area_under_risk_coverage(test.logits, test.targets))]
    for coverage in settings.coverages:
        value = accuracy_at_coverage(test.logits, test.targets, coverage)
        found.append(("accuracy_at_coverage", f"coverage({coverage:g})", value))
    coverages, risks = risk_coverage(test.logits, test.targets)
    shown = np.unique(np.linspace(0, len(risks) - 1, CURVE_POINTS).round().astype(int))
    return Evaluation(
        findings=tuple(
            Finding(
                metric=metric,
                condition=Condition.parse(condition),
                value=value,
                num_examples=len(test.targets),
            )
            for metric, condition, value in found
        ),
        curves={
            "risk_coverage": tuple({"coverage": float(coverages[i]), "risk": float(risks[i])} for i in shown)
        },
    )
