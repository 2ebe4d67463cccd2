"""Tune's `Trainable` around a `Trial`; Ray reuses its process from trial to trial."""

import functools
from typing import TYPE_CHECKING, Any

from ray import tune

from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.core.records import TrialRequest
from raybench.spec import ExperimentSpec
from raybench.store import ledger
from raybench.store.files import StoragePath, parse_storage_path
from raybench.tuning.watchdog import VARIABLE, time_limit

if TYPE_CHECKING:
    from raybench.worker.trial import Trial


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
        self._request: TrialRequest = config["request"]
        self._results = parse_storage_path(config["storage"])  # `_storage` is an attribute of Tune.
        self._step_seconds = float(config["step_seconds"])
        self._trial: Trial | None = None
        try:
            self._trial = self._make_trial(config)
        except StorageUnavailableError:
            raise
        except Exception as error:  # Raised here, it would end this process, and the next one at the retry.
            self._record_crash(error)

    def _make_trial(self, config: dict[str, Any]) -> "Trial":
        # Deferred: torch and timm are imported in workers only.
        from raybench.worker.memory import claim_device
        from raybench.worker.trial import Trial

        return Trial(
            self._request,
            _spec_of(config["storage"], self._request.experiment, config["spec_digest"]),
            self._results,
            device=claim_device(config["resources"]["gpus"]),
            num_threads=config["num_threads"],
        )

    def step(self) -> dict[str, Any]:
        limit, trial = self._step_seconds, self._trial
        if trial is None:
            return {"epoch": 0, "done": True}
        reason = f"one step took longer than {limit:g} s and was ended ({VARIABLE} sets the limit)"
        with time_limit(limit, lambda: trial.fail(reason)):
            try:
                result = trial.step()
            except StorageUnavailableError:
                raise
            except Exception as error:
                # Ends this process, whose GPU may be unusable; Tune retries the trial once in another.
                self._record_crash(error)
                raise
        # Tune's schedulers take numbers only; a failed trial reports no objective.
        objective = {} if result.objective is None else {"objective": result.objective}
        notes = {"notes": trial.notes} if trial.notes else {}
        return {"epoch": result.epoch, "done": result.is_done, **objective, **notes}

    def _record_crash(self, error: Exception) -> None:
        from raybench.worker.crash import record_crash

        record_crash(self._results, self._request, error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: see the class docstring."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: the trial resumes from its own checkpoint."""
