"""Metrics: definition, direction, bounds and resampling of every number that is reported."""

from raybench.metrics import calibration, corruption, ood, retrieval, robustness, selective, shift
from raybench.metrics.classification import classification_metrics
from raybench.metrics.registry import METRICS, ArrayMetric, Metric, declare
from raybench.metrics.resampling import NotResampled, PerExampleMean, RatioOfSums, WeightedFunction

__all__ = [
    "METRICS",
    "ArrayMetric",
    "Metric",
    "NotResampled",
    "PerExampleMean",
    "RatioOfSums",
    "WeightedFunction",
    "calibration",
    "classification_metrics",
    "corruption",
    "declare",
    "ood",
    "retrieval",
    "robustness",
    "selective",
    "shift",
]
