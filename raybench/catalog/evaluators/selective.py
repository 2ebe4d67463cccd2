"""The evaluator `selective`: what are the answers worth if the least sure ones may be declined?"""

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings


class SelectiveSettings(EvaluatorSettings):
    """At which coverages accuracy is reported."""

    coverages: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    """Shares of test images that are answered, in (0, 1]."""


INFO = EvaluatorInfo(
    name="selective",
    needs="predictions",
    metrics=("aurc", "accuracy_at_coverage"),
    headline="aurc",
    settings=SelectiveSettings,
    presets={"standard": SelectiveSettings()},
    doc="How fast do errors vanish as the least sure answers are declined? By maximum softmax.",
)
