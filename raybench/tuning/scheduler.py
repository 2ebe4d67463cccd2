"""Early stopping, one rule per pair: a ResNet on EuroSAT is never stopped because of a ViT on CIFAR."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raybench.core.records import TrialRequest
from raybench.tuning.stopping import make_rule
from raybench.tuning.study import PairStudy

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")


class ExperimentScheduler(FIFOScheduler):
    """FIFO, or one stopping rule per pair for search trials; feature and final trials always run to the end.

    Tune reports a failed trial to the scheduler before the searcher, so the scheduler stores the reason, in
    a dict that both share.
    """

    def __init__(
        self,
        *,
        early_stopping: str,
        failure_reasons: dict[str, str],
        notes: dict[str, list[str]],
        studies: Sequence[PairStudy] = (),
    ) -> None:
        """`studies` give the learning curves of trials that ended in earlier runs: new ones meet them too."""
        super().__init__()
        self._early_stopping = early_stopping
        self._failure_reasons = failure_reasons
        self._notes = notes
        self._studies = {study.pair.slug: study for study in studies}
        self._rules: dict[str, FIFOScheduler] = {}

    def _rule_of(self, trial: Any) -> FIFOScheduler | None:
        request: TrialRequest = trial.config["request"]
        if self._early_stopping == "none" or request.stage != "search" or request.max_epochs <= 1:
            return None
        slug = request.pair.slug
        if slug not in self._rules:
            self._rules[slug] = make_rule(self._early_stopping, request.max_epochs)
            if slug in self._studies:
                _replay(self._rules[slug], self._studies[slug])
        return self._rules[slug]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if rule := self._rule_of(trial):
            rule.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._keep_notes(trial, result)
        rule = self._rule_of(trial)
        if rule is None or "objective" not in result:
            return str(TrialScheduler.CONTINUE)
        return str(rule.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._keep_notes(trial, result)
        rule = self._rule_of(trial)
        if rule is not None and "objective" in result:
            rule.on_trial_complete(tune_controller, trial, result)

    def _keep_notes(self, trial: Any, result: dict[str, Any]) -> None:
        if notes := result.get("notes"):
            self._notes[trial.trial_id] = list(notes)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        if rule := self._rule_of(trial):
            rule.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._failure_reasons[trial.trial_id] = failure_reason(_error_text(trial))
        if rule := self._rule_of(trial):
            rule.on_trial_error(tune_controller, trial)


def _replay(rule: FIFOScheduler, study: PairStudy) -> None:
    """Show a rule the trials of earlier runs, by index."""
    for record, curve in study.learning_curves():
        trial = SimpleNamespace(trial_id=record.trial_id, config={"request": record})
        rule.on_trial_add(None, trial)
        results = [{"epoch": epoch, "objective": value} for epoch, value in curve]
        for result in results:
            rule.on_trial_result(None, trial, result)
        rule.on_trial_complete(None, trial, results[-1])


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
