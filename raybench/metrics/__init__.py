"""How numbers are defined: functions of logits and targets with a direction and bounds."""

from raybench.metrics.calibration import expected_calibration_error
from raybench.metrics.classification import classification_metrics
from raybench.metrics.registry import METRICS, Metric

__all__ = ["METRICS", "Metric", "classification_metrics", "expected_calibration_error"]
