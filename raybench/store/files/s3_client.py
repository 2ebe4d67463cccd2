"""The boto3 client, one per process, and the translation of its errors to OSErrors.

Endpoint, region and credentials come from where every AWS tool takes them: `AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, or the machine's role. raybench never passes
on, stores or prints them: every node needs its own.
"""

import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raybench.core.errors import StorageError

NUM_THREADS = 16
"""Concurrent requests where many objects are read."""
CONNECT_SECONDS, READ_SECONDS = 5, 20
"""Timeouts of one attempt; `retry_transient` makes the next."""
NOT_FOUND_CODES = frozenset({"404", "NoSuchKey", "NotFound"})
CONDITION_CODES = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})
TRANSIENT_CODES = frozenset(
    {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"}
)


class BucketError(OSError):
    """S3 refused a request or did not answer; tells it from an error of a local file."""


@functools.cache
def client() -> Any:
    """boto3's S3 client, one per process; threads share its connections."""
    import boto3  # Deferred: takes half a second, which a local folder need not pay.
    from botocore.config import Config

    settings = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},  # `retry_transient` retries, within the user's time limit.
        max_pool_connections=2 * NUM_THREADS,
        # Many S3-compatible stores refuse checksums that the protocol does not require.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=settings)


def endpoint() -> str:
    """URL of the S3 endpoint.

    Raises:
        StorageError: if AWS's variables describe no client: an unknown profile, a URL without scheme.
    """
    from botocore import exceptions

    try:
        return str(client().meta.endpoint_url)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise StorageError(f"cannot use a bucket: {_first_line(error)}; mend AWS's variables.") from error


def raise_if_not_deleted(answer: Any) -> None:
    """Raise if an answer of `delete_objects` lists failures: its status is 200 even then.

    Raises:
        ClientError: for the first object that was not deleted.
    """
    from botocore import exceptions

    if failures := answer.get("Errors"):
        first = failures[0]
        message = f"{first.get('Message', '')}; left there: {len(failures)}, first {first.get('Key')!r}"
        error = {"Code": first.get("Code", ""), "Message": message}
        raise exceptions.ClientError({"Error": error}, "DeleteObjects")


@contextmanager
def translate_errors(address: str, bucket: str) -> Iterator[None]:
    """Raise boto3's errors as OSErrors, with an errno that says whether to retry and no secret in the text.

    Raises:
        FileNotFoundError: if there is no such object.
        FileExistsError: if a conditional write was refused.
        BucketError: for any other error.
    """
    import boto3.exceptions
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _translated(error, address, bucket) from None
    except (boto3.exceptions.RetriesExceededError, exceptions.CredentialRetrievalError) as error:
        raise BucketError(errno.EREMOTEIO, _first_line(error)) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        names = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise BucketError(errno.EACCES, f"no credentials ({names})") from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError) as error:
        raise BucketError(errno.EREMOTEIO, f"{endpoint()} does not answer ({type(error).__name__})") from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise BucketError(errno.EINVAL, _first_line(error)) from None


def _translated(error: Any, address: str, bucket: str) -> OSError:
    """The OSError for an answer with an error code."""
    details = error.response.get("Error", {})
    code = str(details.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in NOT_FOUND_CODES:
        return FileNotFoundError(errno.ENOENT, "no such object", address)
    if code in CONDITION_CODES:
        return FileExistsError(errno.EEXIST, "the object exists or has changed", address)
    if code == "NoSuchBucket":
        return BucketError(errno.ENXIO, f"there is no bucket {bucket!r} at {endpoint()}")
    message = f"{endpoint()} answers {code} ({details.get('Message', '')})"
    if (status >= 500 and code != "NotImplemented") or status == 429 or code in TRANSIENT_CODES:
        return BucketError(errno.EREMOTEIO, message)
    return BucketError(errno.EACCES if status in (401, 403) else errno.EINVAL, message)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
