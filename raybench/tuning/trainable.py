"""Tune's `Trainable` around a `Trial`; Ray reuses its process from trial to trial."""

import functools
from typing import Any

from ray import tune

from raybench.core.errors import ResourceError, StorageError
from raybench.core.records import TrialRequest
from raybench.spec import ExperimentSpec
from raybench.store import ledger
from raybench.store.files import StoragePath, parse_storage_path
from raybench.tuning.watchdog import VARIABLE, time_limit


@functools.lru_cache(maxsize=8)
def _spec_of(storage: str, experiment: str, spec_digest: str) -> ExperimentSpec:
    """The stored spec. The digest is part of the cache key, so that an extended spec is reloaded."""
    return _load_spec(parse_storage_path(storage), experiment)


def _load_spec(storage: StoragePath, experiment: str) -> ExperimentSpec:
    content = ledger.load_spec(storage, experiment)
    if content is None:
        raise StorageError(
            f"{storage} holds no spec of experiment {experiment!r}; is the storage shared by every node?"
        )
    return ExperimentSpec.from_dict(content)


class TrialTrainable(tune.Trainable):
    """One epoch per `step`. Tune checkpoints nothing: a trial keeps its own checkpoint in the storage."""

    def setup(self, config: dict[str, Any]) -> None:
        # Deferred: torch and timm are imported in workers only.
        from raybench.worker.memory import claim_device
        from raybench.worker.trial import Trial

        request: TrialRequest = config["request"]
        self._step_seconds = float(config["step_seconds"])
        self._refusal, device = "", "cpu"
        try:
            device = claim_device(config["resources"]["gpus"])
        except ResourceError as error:
            # `step` reports it: an error raised here would end this process, and the next one at the retry.
            self._refusal = f"{type(error).__name__}: {error}"
        self._trial = Trial(
            request,
            _spec_of(config["storage"], request.experiment, config["spec_digest"]),
            parse_storage_path(config["storage"]),
            device=device,
            num_threads=config["num_threads"],
        )

    def step(self) -> dict[str, Any]:
        limit, trial = self._step_seconds, self._trial
        if self._refusal:
            trial.fail(self._refusal)
            return {"epoch": 0, "done": True}
        reason = f"one step took longer than {limit:g} s and was ended ({VARIABLE} sets the limit)"
        with time_limit(limit, lambda: trial.fail(reason)):
            result = trial.step()
        # Tune's schedulers take numbers only; a failed trial reports no objective.
        objective = {} if result.objective is None else {"objective": result.objective}
        notes = {"notes": trial.notes} if trial.notes else {}
        return {"epoch": result.epoch, "done": result.is_done, **objective, **notes}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: see the class docstring."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: the trial resumes from its own checkpoint."""
