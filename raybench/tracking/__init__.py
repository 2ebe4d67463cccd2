"""MLflow as a view of an experiment; the only package that knows MLflow. The ledger is the truth."""

from raybench.tracking.address import tracking_uri
from raybench.tracking.tracker import Tracker, rebuild

__all__ = ["Tracker", "rebuild", "tracking_uri"]
