"""The lock of a bucket: who holds it, how it is seen that nobody does, and two who both believe to."""

import json
import subprocess
import sys
import time

import pytest

from raybench.core.errors import StorageUnavailableError
from raybench.store.files import lease as lease_module
from raybench.store.files.lease import Lease, _machine
from raybench.store.files.s3 import S3Path


@pytest.fixture
def path(bucket, monkeypatch):
    """Of a lease in a world that goes faster. An object's time has whole seconds only."""
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 2.0)
    return bucket / "lock"


def left_by(path: S3Path, *, process: int, machine: str) -> None:
    content = {"token": "other", "host": "node-7", "process": process, "machine": machine}
    path.put(json.dumps(content).encode())


def test_one_left_behind_elsewhere_is_taken_over_when_it_has_run_out_and_not_before(path):
    left_by(path, process=41, machine="another")
    lines = []
    lease, started = Lease(path), time.monotonic()
    assert lease.acquire(waits=False, say=lines.append)
    assert time.monotonic() - started > 1.0
    lease.release()
    assert len(lines) == 1
    assert lines[0].startswith("process 41 on node-7 was here ")
    assert not path.is_file()


def test_one_left_behind_on_this_machine_is_taken_over_at_once(path, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 1000.0)
    program = "import os; print(os.getpid())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    left_by(path, process=int(ended.stdout), machine=_machine())
    lease = Lease(path)
    assert lease.acquire(waits=False)
    lease.release()


def test_one_that_is_renewed_is_left_alone_however_long(path):
    holder, other = Lease(path), Lease(path)
    assert holder.acquire(waits=True)
    time.sleep(3.5)  # Longer than it lasts unless renewed.
    assert not other.acquire(waits=False)
    assert other.holder.startswith("process ")
    holder.require()
    holder.release()


def test_what_nobody_of_us_has_written_runs_out_like_any_other(path):
    path.put(b"\xff\xff")
    lease = Lease(path)
    assert lease.acquire(waits=False)
    lease.release()


def test_who_has_lost_it_is_told(path):
    lease = Lease(path)
    assert lease.acquire(waits=True)
    left_by(path, process=41, machine="another")
    lease._thread.join(10)
    with pytest.raises(StorageUnavailableError, match=r"another process has taken over .*lock"):
        lease.require()
    lease.release()
    assert json.loads(path.read_bytes())["token"] == "other", "it is not ours to give back"


def test_where_conditions_are_ignored_the_last_one_holds_it_and_the_first_one_notices(path, monkeypatch):
    put = S3Path.put
    monkeypatch.setattr(S3Path, "put", lambda self, content, **condition: put(self, content))
    first, second = Lease(path), Lease(path)
    assert first.acquire(waits=False)
    assert second._take(None)  # Both looked before either had written.
    first._thread.join(10)
    with pytest.raises(StorageUnavailableError):
        first.require()
    first.release()


def test_one_that_the_store_never_gives_is_told_after_a_while(path, monkeypatch):
    """Such a store answers 412 to every condition."""
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 0.4)
    left_by(path, process=41, machine="another")
    tries = []

    def refuse(self, content, **condition):
        tries.append(condition)
        raise FileExistsError

    monkeypatch.setattr(S3Path, "put", refuse)
    time.sleep(1.5)  # An object's time has whole seconds only: it has run out now.
    with pytest.raises(StorageUnavailableError, match=r"cannot take over .*lock.*conditional writes"):
        Lease(path).acquire(waits=True)
    assert 2 < len(tries) < 20, "with pauses in between"
