"""Metrics: definition, direction, bounds and resampling of every number that is reported."""

from raybench.metrics import corruption, ood, retrieval, robustness, selective, shift
from raybench.metrics.calibration import expected_calibration_error
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
    "classification_metrics",
    "corruption",
    "declare",
    "expected_calibration_error",
    "ood",
    "retrieval",
    "robustness",
    "selective",
    "shift",
]
