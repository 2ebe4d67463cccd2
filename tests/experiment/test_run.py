"""Parts of a run that need no Ray: checks before the start, the lock, the marker of a tracked experiment."""

import io
import json
import re

import pytest

from raybench.core.errors import StorageError
from raybench.experiment import run as running
from raybench.experiment.run import require_writable
from raybench.experiment.tracked_marker import is_tracked, mark_tracked
from raybench.spec import load_spec
from raybench.store.files import file_sizes
from raybench.store.files import lease as lease_module

SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@digits]
budget: smoke
"""


def test_a_writable_storage_is_created_and_left_empty(tmp_path):
    require_writable(tmp_path / "new" / "storage")
    assert list((tmp_path / "new" / "storage").iterdir()) == []


def test_a_storage_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write '.*file/storage/.*; free space or choose another"):
        require_writable(tmp_path / "file" / "storage")


def test_a_writable_bucket_is_left_empty(bucket):
    require_writable(bucket)
    assert file_sizes(bucket) == {}


def test_two_runs_of_one_experiment_on_one_storage_are_refused(any_storage, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.05)
    with running._only_driver(any_storage, "small", None):
        with (
            pytest.raises(StorageError, match=r"process.* is running experiment 'small' on .*; wait for it"),
            running._only_driver(any_storage, "small", None),
        ):
            pass
        with running._only_driver(any_storage, "other", None):
            pass
    with running._only_driver(any_storage, "small", None):
        pass


def test_a_run_that_waits_for_a_killed_one_prints_why(bucket, monkeypatch):
    lock = bucket / "experiments" / "small" / "running.lock"
    lock.put(json.dumps({"token": "other", "host": "node-7", "process": 41, "machine": "another"}).encode())
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 3600.0)

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            lock.delete()  # End the wait as soon as it is announced.
            return super().write(text)

    output = Output()
    with running._only_driver(bucket, "small", output):
        pass
    assert re.search(r"note      process 41 on node-7 .*3600 s", output.getvalue())


def test_the_marker_of_a_tracked_experiment_holds_for_its_spec_and_server_only(any_storage, tmp_path):
    (tmp_path / "small.yaml").write_text(SPEC)
    spec = load_spec(tmp_path / "small.yaml")
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    assert not is_tracked(any_storage, spec, uri)
    database.touch()
    mark_tracked(any_storage, spec, uri)
    assert is_tracked(any_storage, spec, uri)
    assert not is_tracked(any_storage, spec, "http://elsewhere:5000")
    assert not is_tracked(any_storage, spec.model_copy(update={"seeds": [0, 1, 2]}), uri)
    database.unlink()
    assert not is_tracked(any_storage, spec, uri)
