"""The evaluator `margin`: how far the best class is ahead of the second best."""

import numpy as np

from raybench.core.condition import CLEAN
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.outcomes import Evaluation, MetricResult
from tiny_plugin.rows import MarginSettings


def margin(fitted: FittedClassifier, settings: MarginSettings) -> Evaluation:
    """Mean difference of the two largest logits on test; the curve `margins` holds its quantiles."""
    logits = np.sort(fitted.predictions["test"].logits, axis=1)
    margins = logits[:, -1] - logits[:, -2]
    result = MetricResult(
        condition=CLEAN, metric="mean_margin", value=float(margins.mean()), num_examples=len(margins)
    )
    points = tuple(
        {"share": q, "margin": float(np.quantile(margins, q))} for q in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    return Evaluation(results=(result,), curves={"margins": points})
