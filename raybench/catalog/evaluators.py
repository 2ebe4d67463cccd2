"""Evaluators: what measures a fitted classifier further, after the final stage."""

from dataclasses import dataclass

from raybench.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """One evaluator: what it needs and which metrics it adds."""

    name: str
    needs: str
    """`predictions` (the final stage's logits; nothing runs again) or `images` (a forward pass)."""
    metrics: tuple[str, ...]
    doc: str


EVALUATORS: Registry[EvaluatorInfo] = Registry("evaluator")
EVALUATORS.add(
    "calibration",
    EvaluatorInfo(
        name="calibration",
        needs="predictions",
        metrics=("ece",),
        doc="Does a confidence of 0.8 mean right in 80 of 100 cases? Expected calibration error by netcal.",
    ),
)
