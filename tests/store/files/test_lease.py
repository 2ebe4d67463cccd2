"""Leases: who holds one, when an abandoned one is taken over, and two holders at once."""

import json
import subprocess
import sys
import time

import pytest

from raybench.core.errors import StorageUnavailableError
from raybench.store.files import lease as lease_module
from raybench.store.files.lease import Lease, _machine_id
from raybench.store.files.s3 import S3Path
from tests.processes import DEADLINE_SECONDS, wait_until


@pytest.fixture
def path(bucket, monkeypatch):
    """Path of a lease, with shorter times. S3 dates objects in whole seconds."""
    monkeypatch.setattr(lease_module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 2.0)
    return bucket / "lock"


def write_lease(path: S3Path, *, process: int, machine: str) -> None:
    """A lease of another process that is never renewed."""
    content = {"token": "other", "host": "node-7", "process": process, "machine": machine}
    path.put(json.dumps(content).encode())


def test_an_abandoned_lease_of_another_machine_is_taken_over_once_it_expires_and_not_before(
    path, monkeypatch
):
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 1000.0)
    write_lease(path, process=41, machine="another")
    lines = []

    def expire(line: str) -> None:
        lines.append(line)
        monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", -1.0)

    lease = Lease(path)
    assert lease.acquire(blocking=False, on_wait=expire)
    lease.release()
    assert len(lines) == 1
    assert lines[0].startswith("process 41 on node-7 was here ")
    assert not path.is_file()


def test_an_abandoned_lease_of_this_machine_is_taken_over_at_once(path, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 1000.0)
    program = "import os; print(os.getpid())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    write_lease(path, process=int(ended.stdout), machine=_machine_id())
    lease = Lease(path)
    assert lease.acquire(blocking=False)
    lease.release()


def test_a_renewed_lease_is_not_given_to_another(path, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 60.0)
    holder, other = Lease(path), Lease(path)
    assert holder.acquire(blocking=True)
    written = {json.loads(path.read_bytes())["written"]}
    wait_until(
        lambda: written.add(json.loads(path.read_bytes())["written"]) or len(written) > 2, "two renewals"
    )
    assert not other.acquire(blocking=False)
    assert other.holder.startswith("process ")
    holder.raise_if_lost()
    holder.release()


def test_an_object_that_is_not_a_lease_expires_like_one(path):
    path.put(b"\xff\xff")
    lease = Lease(path)
    assert lease.acquire(blocking=False)
    lease.release()


def test_the_holder_of_a_lost_lease_notices(path):
    lease = Lease(path)
    assert lease.acquire(blocking=True)
    write_lease(path, process=41, machine="another")
    lease._thread.join(DEADLINE_SECONDS)
    with pytest.raises(StorageUnavailableError, match=r"another process has taken over .*lock"):
        lease.raise_if_lost()
    lease.release()
    assert json.loads(path.read_bytes())["token"] == "other", "a lost lease is not deleted"


def test_without_conditional_writes_the_last_writer_holds_the_lease_and_the_first_notices(path, monkeypatch):
    put = S3Path.put
    monkeypatch.setattr(S3Path, "put", lambda self, content, **condition: put(self, content))
    first, second = Lease(path), Lease(path)
    assert first.acquire(blocking=False)
    assert second._try_write(None)  # Both read before either wrote.
    first._thread.join(DEADLINE_SECONDS)
    with pytest.raises(StorageUnavailableError):
        first.raise_if_lost()
    first.release()


def test_a_store_that_refuses_every_takeover_is_reported(path, monkeypatch):
    """Such a store answers 412 to every conditional write."""
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 0.4)
    write_lease(path, process=41, machine="another")
    tries = []

    def refuse(self, content, **condition):
        tries.append(condition)
        raise FileExistsError

    monkeypatch.setattr(S3Path, "put", refuse)
    time.sleep(1.5)  # S3 dates objects in whole seconds: now it has expired.
    with pytest.raises(StorageUnavailableError, match=r"cannot take over .*lock.*conditional writes"):
        Lease(path).acquire(blocking=True)
    assert 2 <= len(tries) < 20, "with pauses in between"


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_takes_no_lease_away(path, monkeypatch, jump):
    """Age is measured by the bucket's clock: those of the machines do not matter."""
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 1000.0)
    holder = Lease(path)
    assert holder.acquire(blocking=False)
    now = time.time
    with monkeypatch.context() as jumped:
        jumped.setattr(time, "time", lambda: now() + jump)
        assert not Lease(path).acquire(blocking=False)
        time.sleep(3 * lease_module.RENEWAL_SECONDS)  # It renews meanwhile.
        holder.raise_if_lost()
    holder.release()
