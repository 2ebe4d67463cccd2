"""A bucket that goes away, and a real connection that breaks: what is waited for, and what is said."""

import os
import threading
import time
from urllib.parse import urlsplit

import pytest

from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.store import ledger
from raybench.store.files import exclusive_lock, glob_sorted, read_bytes, remove_tree, write_atomic
from raybench.store.files.retry import VARIABLE, retry_seconds
from raybench.store.files.s3_client import client
from tests.store.files.gate import Gate


@pytest.fixture
def gate(bucket, s3_address, monkeypatch):
    """Between this process and the bucket."""
    gate = Gate(urlsplit(s3_address).port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.address)
    client.cache_clear()
    yield gate
    gate.close()


def test_a_bucket_that_comes_back_is_waited_for(bucket, gate):
    write_atomic(bucket / "file", lambda file: file.write(b"content"))
    gate.close()
    timer = threading.Timer(1.0, gate.open)
    timer.start()
    started = time.monotonic()
    assert read_bytes(bucket / "file") == b"content"
    assert time.monotonic() - started >= 0.9
    timer.join()


REQUESTS = {
    "read": read_bytes,
    "look for": lambda path: path.is_file(),
    "list": lambda path: glob_sorted(path, "*"),
    "write": lambda path: write_atomic(path, lambda file: file.write(b"")),
    "delete": lambda path: path.delete(),
}


@pytest.mark.parametrize("verb", REQUESTS)
def test_one_that_stays_away_is_told_and_never_taken_for_empty(bucket, gate, monkeypatch, verb):
    write_atomic(bucket / "file", lambda file: file.write(b"content"))
    monkeypatch.setenv(VARIABLE, "0.3")
    with gate.closed(), pytest.raises(StorageUnavailableError) as told:
        REQUESTS[verb](bucket / "file")
    assert str(told.value).startswith(f"cannot {verb} '{bucket / 'file'}': {gate.address} does not answer")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(told.value)
    assert read_bytes(bucket / "file") == b"content"


def test_a_ledger_that_is_away_is_not_an_empty_ledger(bucket, gate, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.3")
    with gate.closed():
        for ask in (ledger.read_records, ledger.load_spec):
            with pytest.raises(StorageUnavailableError, match="does not answer"):
                ask(bucket, "e")
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            ledger.pin(bucket, "e", "backbone", "b", "0" * 16)


def test_a_lease_is_given_back_without_waiting_for_a_bucket_that_is_away(bucket, gate):
    with exclusive_lock(bucket / "lock"):
        gate.close()
        started = time.monotonic()
    assert time.monotonic() - started < 10
    gate.open()
    assert (bucket / "lock").is_file(), "it runs out by itself"


def test_what_cannot_be_emptied_now_is_in_nobodys_way(bucket, gate, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.3")
    with gate.closed():
        remove_tree(bucket)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_patience_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(StorageError, match=f"{VARIABLE} must be a number of seconds, got '{text}'"):
        retry_seconds()


def test_an_object_that_the_bucket_keeps_is_told(bucket, monkeypatch):
    """S3 answers 200 and names what it has kept."""
    write_atomic(bucket / "a" / "file", lambda file: file.write(b"content"))
    kept = {"Errors": [{"Key": "a/file", "Code": "AccessDenied", "Message": "Access Denied"}]}
    monkeypatch.setattr(client(), "delete_objects", lambda **request: kept)
    with pytest.raises(
        StorageUnavailableError, match=r"cannot empty .*AccessDenied.*left there: 1, first 'a/f"
    ):
        (bucket / "a").delete_below()
