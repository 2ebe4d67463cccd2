"""An S3 server that becomes unreachable: what is retried, and how a lasting outage is reported."""

import os
import threading
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ConnectionClosedError

from raybench.core.errors import StorageError, StorageUnavailableError
from raybench.store import ledger
from raybench.store.files import exclusive_lock, glob_sorted, read_bytes, remove_tree, write_atomic
from raybench.store.files.retry import RETRY_VARIABLE, retry_seconds
from raybench.store.files.s3 import SINGLE_PUT_BYTES
from raybench.store.files.s3_client import client
from tests.store.files.gate import Gate


@pytest.fixture
def gate(bucket, s3_address, monkeypatch):
    """A proxy between this process and the bucket."""
    gate = Gate(urlsplit(s3_address).port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.address)
    client.cache_clear()
    yield gate
    gate.close()


def test_requests_are_retried_until_the_bucket_is_back(bucket, gate):
    write_atomic(bucket / "file", lambda file: file.write(b"content"))
    gate.close()
    is_back = threading.Event()

    def come_back() -> None:
        is_back.set()
        gate.open()

    timer = threading.Timer(1.0, come_back)
    timer.start()
    assert read_bytes(bucket / "file") == b"content"
    assert is_back.is_set()
    timer.join()


@pytest.mark.parametrize("size", [SINGLE_PUT_BYTES - 1, SINGLE_PUT_BYTES, SINGLE_PUT_BYTES + 1])
def test_an_upload_that_is_interrupted_is_retried_from_its_beginning(bucket, size):
    content, failures = bytes(range(256)) * (size // 256) + bytes(size % 256), []

    def fail_once(**event):
        if not failures:
            failures.append(event)
            raise ConnectionClosedError(endpoint_url="")

    for operation in ("PutObject", "UploadPart"):
        client().meta.events.register(f"before-call.s3.{operation}", fail_once)
    write_atomic(bucket / "file", lambda file: file.write(content))
    assert len(failures) == 1
    assert read_bytes(bucket / "file") == content


REQUESTS = {
    "read": read_bytes,
    "look for": lambda path: path.is_file(),
    "list": lambda path: glob_sorted(path, "*"),
    "write": lambda path: write_atomic(path, lambda file: file.write(b"")),
    "delete": lambda path: path.delete(),
}


@pytest.mark.parametrize("verb", REQUESTS)
def test_a_lasting_outage_is_reported_and_never_taken_for_an_empty_bucket(bucket, gate, monkeypatch, verb):
    write_atomic(bucket / "file", lambda file: file.write(b"content"))
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    with gate.closed(), pytest.raises(StorageUnavailableError) as error:
        REQUESTS[verb](bucket / "file")
    assert str(error.value).startswith(f"cannot {verb} '{bucket / 'file'}': {gate.address} does not answer")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(error.value)
    assert read_bytes(bucket / "file") == b"content"


def test_an_unreachable_ledger_is_not_an_empty_ledger(bucket, gate, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    with gate.closed():
        for read in (ledger.read_records, ledger.load_spec):
            with pytest.raises(StorageUnavailableError, match="does not answer"):
                read(bucket, "e")
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            ledger.pin(bucket, "e", "backbone", "b", "0" * 16)


def test_releasing_a_lease_does_not_wait_for_an_unreachable_bucket(bucket, gate):
    def wait(seconds):
        raise AssertionError(f"waits {seconds} s")

    with pytest.MonkeyPatch.context() as patch, exclusive_lock(bucket / "lock"):
        gate.close()
        patch.setattr("raybench.store.files.retry.time.sleep", wait)
    gate.open()
    assert (bucket / "lock").is_file(), "it expires by itself"


def test_removing_a_tree_ignores_an_outage(bucket, gate, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.3")
    with gate.closed():
        remove_tree(bucket)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_retry_time_that_is_not_a_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(RETRY_VARIABLE, text)
    with pytest.raises(StorageError, match=f"{RETRY_VARIABLE} must be a number of seconds, got '{text}'"):
        retry_seconds()


def test_an_object_that_s3_refuses_to_delete_is_reported(bucket, monkeypatch):
    """S3 answers 200 and lists what it did not delete."""
    write_atomic(bucket / "a" / "file", lambda file: file.write(b"content"))
    kept = {"Errors": [{"Key": "a/file", "Code": "AccessDenied", "Message": "Access Denied"}]}
    monkeypatch.setattr(client(), "delete_objects", lambda **request: kept)
    with pytest.raises(
        StorageUnavailableError, match=r"cannot empty .*AccessDenied.*left there: 1, first 'a/f"
    ):
        (bucket / "a").delete_tree()
