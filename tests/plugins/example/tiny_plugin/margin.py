"""The evaluator `margin`: how far the best class is ahead of the second best."""

import numpy as np

from raybench.core.condition import CLEAN
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.subject import Subject
from tiny_plugin.rows import MarginSettings


def margin(subject: Subject, settings: MarginSettings) -> Evaluation:
    """Mean difference of the two largest logits on test."""
    logits = np.sort(subject.predictions["test"].logits, axis=1)
    value = float((logits[:, -1] - logits[:, -2]).mean())
    finding = Finding(condition=CLEAN, metric="mean_margin", value=value, num_examples=len(logits))
    return Evaluation(findings=(finding,))
