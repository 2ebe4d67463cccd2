"""A trial in Ray's process: the ledger holds type and message of whatever it raises."""

from pathlib import Path

import pytest

from raybench.core.errors import ResourceError, StorageUnavailableError
from raybench.core.records import Pair, Task, TrialRecord, TrialRequest
from raybench.store import ledger
from raybench.tuning import trainable as module
from raybench.tuning.scheduler import failure_reason
from raybench.tuning.trainable import TrialTrainable
from raybench.worker import memory, trial

REQUEST = TrialRequest(
    experiment="e",
    pair=Pair(backbone="b", task=Task("knn", "digits")),
    stage="search",
    index=0,
    hparams={},
    seed=0,
    max_epochs=1,
)


@pytest.fixture
def run_step(tmp_path, monkeypatch):
    """`run_step(error, during)`: run a trial's only step in which `during` raises the error."""

    def run(error: Exception, during: str) -> dict[str, object]:
        def fail(*arguments: object, **options: object) -> None:
            raise error

        monkeypatch.setattr(module, "_spec_of", lambda *arguments: None)
        monkeypatch.setattr(trial.Trial, "__init__", lambda self, *arguments, **options: None)
        target, name = {
            "setup": (module, "_spec_of"),
            "device": (memory, "claim_device"),
            "step": (trial.Trial, "step"),
        }[during]
        monkeypatch.setattr(target, name, fail)
        made = TrialTrainable.__new__(TrialTrainable)
        made.setup(
            {
                "request": REQUEST,
                "storage": str(tmp_path),
                "step_seconds": 60.0,
                "spec_digest": "",
                "resources": {"gpus": 0},
                "num_threads": 1,
            }
        )
        return made.step()

    return run


def record_in(storage: Path) -> TrialRecord:
    record = ledger.read_record(storage, "e", REQUEST.trial_id)
    assert record is not None
    return record


def test_an_exception_in_a_step_is_recorded_and_ends_the_process(run_step, tmp_path):
    with pytest.raises(KeyError):
        run_step(KeyError("a bug of mine"), "step")
    record = record_in(tmp_path)
    assert record.status == "failed"
    reason, _, path = record.reason.removesuffix(")").partition(" (traceback in ")
    assert reason == "KeyError: 'a bug of mine'"
    text = Path(path).read_text()
    assert text.startswith("Traceback")
    assert "test_trainable.py" in text


def test_a_worker_that_cannot_start_says_why(run_step, tmp_path):
    assert run_step(ModuleNotFoundError("No module named 'torch'"), "setup")["done"]
    assert record_in(tmp_path).reason.startswith(
        "ModuleNotFoundError: No module named 'torch' (traceback in "
    )


def test_a_refusal_of_raybench_itself_needs_no_traceback(run_step, tmp_path):
    assert run_step(ResourceError("no GPU"), "device")["done"]
    assert record_in(tmp_path).reason == "ResourceError: no GPU"
    assert not list(tmp_path.rglob("*.txt"))


def test_an_unreachable_storage_fails_no_trial(run_step, tmp_path):
    with pytest.raises(StorageUnavailableError):
        run_step(StorageUnavailableError("full"), "step")
    assert ledger.read_record(tmp_path, "e", REQUEST.trial_id) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its process died"),
        (
            "Failure # 1 (at noon)\nThe actor died unexpectedly before ending.\n\tid: 1",
            "its process died: The actor died unexpectedly before ending.",
        ),
        (
            "Failure # 1 (at noon)\nValueError: first\nFailure # 2 (at one)\nray::T.train() (pid=1)\n"
            '  File "x.py", line 3\nraybench.core.errors.StorageUnavailableError: full\nsecond line\n',
            "raybench.core.errors.StorageUnavailableError: full",
        ),
    ],
)
def test_the_reason_is_the_last_exception_in_the_text_of_ray(text, reason):
    assert failure_reason(text) == reason
