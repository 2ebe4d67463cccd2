"""Which of several search trials is preferred: by the objective on val, then by nll, then the earliest.

One rule for the search, MLflow and the report. Small val splits make equal accuracies common; among them the
trial with the better likelihood generalises better, and the index makes the choice independent of timing.
"""

from raybench.core.records import TrialRecord
from raybench.metrics.registry import Metric

Preference = tuple[float, float, int]
"""(objective, higher is better; negated nll; negated index): compare as tuples, larger is preferred."""


def signed_objective(record: TrialRecord, objective: Metric) -> float | None:
    """The objective on val, negated where lower is better; None if the trial failed or has none."""
    value = record.value_of("val", objective.name)
    if value is None or record.status == "failed":
        return None
    return value if objective.direction == "max" else -value


def preference(record: TrialRecord, objective: Metric) -> Preference | None:
    """The key by which search trials are compared; None if the trial failed or has no objective.

    A trial without nll counts as the worst of its equals.
    """
    value, nll = signed_objective(record, objective), record.value_of("val", "nll")
    if value is None:
        return None
    return value, float("-inf") if nll is None else -nll, -record.index
