"""MLflow as a view of the ledger, rebuilt at any time. Only this package imports MLflow."""

from raybench.tracking.address import tracking_uri
from raybench.tracking.tracker import Tracker, rebuild

__all__ = ["Tracker", "rebuild", "tracking_uri"]
