"""Early stopping, one ASHA per pair: a ResNet on EuroSAT is never stopped because of a ViT on CIFAR."""

import re
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raybench.core.records import TrialRequest

REDUCTION_FACTOR = 4
"""eta of successive halving: a quarter of the trials passes each rung (Li et al., MLSys 2020, section 3)."""
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")


class ExperimentScheduler(FIFOScheduler):
    """FIFO, or one ASHA per pair for search trials; feature and final trials always run to the end.

    Tune reports a failed trial to the scheduler before the searcher, so the scheduler stores the reason, in
    a dict that both share.
    """

    def __init__(
        self, *, early_stopping: str, failure_reasons: dict[str, str], notes: dict[str, list[str]]
    ) -> None:
        super().__init__()
        self._is_asha = early_stopping == "asha"
        self._failure_reasons = failure_reasons
        self._notes = notes
        self._ashas: dict[str, ASHAScheduler] = {}

    def _asha_of(self, trial: Any) -> ASHAScheduler | None:
        request: TrialRequest = trial.config["request"]
        if not self._is_asha or request.stage != "search" or request.max_epochs <= 1:
            return None
        slug = request.pair.slug
        if slug not in self._ashas:
            self._ashas[slug] = ASHAScheduler(
                time_attr="epoch",
                metric="objective",
                mode="max",
                max_t=request.max_epochs,
                grace_period=max(1, request.max_epochs // REDUCTION_FACTOR**2),
                reduction_factor=REDUCTION_FACTOR,
            )
        return self._ashas[slug]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if asha := self._asha_of(trial):
            asha.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._keep_notes(trial, result)
        asha = self._asha_of(trial)
        if asha is None or "objective" not in result:
            return str(TrialScheduler.CONTINUE)
        return str(asha.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._keep_notes(trial, result)
        asha = self._asha_of(trial)
        if asha is not None and "objective" in result:
            asha.on_trial_complete(tune_controller, trial, result)

    def _keep_notes(self, trial: Any, result: dict[str, Any]) -> None:
        if notes := result.get("notes"):
            self._notes[trial.trial_id] = list(notes)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        if asha := self._asha_of(trial):
            asha.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._failure_reasons[trial.trial_id] = failure_reason(_error_text(trial))
        if asha := self._asha_of(trial):
            asha.on_trial_error(tune_controller, trial)


def _error_text(trial: Any) -> str:
    """What Ray wrote about the failures of a trial; empty if it wrote nothing."""
    try:
        return Path(trial.error_file).read_text(errors="replace")  # `get_error` finds it only later.
    except (OSError, TypeError):
        return str(trial.get_error() or trial.get_pickled_error() or "")


def failure_reason(text: str) -> str:
    """The reason in Ray's text about a failed trial: the last exception, or why its process died.

    >>> failure_reason("Failure # 1 (occurred at noon)\\nTraceback\\n  line 1\\nValueError: too small")
    'ValueError: too small'
    """
    lines = [line for line in text.rpartition("Failure # ")[2].splitlines()[1:] if line.strip()]
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    if exceptions:
        return exceptions[-1]
    return f"its process died: {lines[0]}" if lines else "its process died"
