"""The parts of a run that need no Ray: what is refused before the start, and what is known to be tracked."""

import pytest

from raybench import run as running
from raybench.errors import StorageError
from raybench.run import require_writable
from raybench.spec import load_spec

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


def test_two_runs_of_one_experiment_on_one_storage_are_refused(tmp_path):
    with running._only_one(tmp_path, "small"):
        with (
            pytest.raises(StorageError, match="another process is running experiment 'small'"),
            running._only_one(tmp_path, "small"),
        ):
            pass
        with running._only_one(tmp_path, "other"):
            pass
    with running._only_one(tmp_path, "small"):
        pass


def test_what_is_tracked_is_known_by_spec_and_server(tmp_path):
    (tmp_path / "small.yaml").write_text(SPEC)
    spec = load_spec(tmp_path / "small.yaml")
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    assert not running._is_tracked(tmp_path, spec, uri)
    database.touch()
    running._mark_tracked(tmp_path, spec, uri)
    assert running._is_tracked(tmp_path, spec, uri)
    assert not running._is_tracked(tmp_path, spec, "http://elsewhere:5000")
    assert not running._is_tracked(tmp_path, spec.model_copy(update={"seeds": [0, 1, 2]}), uri)
    database.unlink()
    assert not running._is_tracked(tmp_path, spec, uri)
