"""The boto3 door: one client per process, and what its errors mean.

Address, region and credentials come from where every AWS tool takes them: `AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, or the role of the machine. None of it is
passed on, kept or printed: every node has to find its own.
"""

import errno
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from raybench.core.errors import StorageError

NUM_THREADS = 16
"""Requests under way at once, where many objects are wanted."""
CONNECT_SECONDS, ANSWER_SECONDS = 5, 20
"""After which one attempt is given up; `retry_transient` makes the next."""
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})
PASSING_CODES = frozenset(
    {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"}
)


class BucketError(OSError):
    """What a bucket answered, or that it did not; unlike an error of a file of this machine."""


@functools.cache
def client() -> Any:
    """boto3's client for S3, one per process; its threads share the connections."""
    import boto3  # Deferred: half a second that a folder need not wait for.
    from botocore.config import Config

    settings = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"total_max_attempts": 1},  # `retry_transient` does that, and knows when to give up.
        max_pool_connections=2 * NUM_THREADS,
        # Checksums beyond those that the protocol asks for are refused by many stores that are not Amazon's.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=settings)


def endpoint() -> str:
    """The address that is asked; part of what tells two storages apart.

    Raises:
        StorageError: if AWS's variables describe no client: no such profile, an address without its scheme.
    """
    from botocore import exceptions

    try:
        return str(client().meta.endpoint_url)
    except (exceptions.BotoCoreError, ValueError) as error:
        raise StorageError(f"cannot use a bucket: {_first_line(error)}; mend AWS's variables.") from error


def require_all_deleted(answer: Any) -> None:
    """Nothing, if every object was deleted: S3 says 200 even where it kept some.

    Raises:
        ClientError: that of the first one kept.
    """
    from botocore import exceptions

    if kept := answer.get("Errors"):
        message = f"{kept[0].get('Message', '')}; left there: {len(kept)}, first {kept[0].get('Key')!r}"
        error = {"Code": kept[0].get("Code", ""), "Message": message}
        raise exceptions.ClientError({"Error": error}, "DeleteObjects")


@contextmanager
def translated(address: str, bucket: str) -> Iterator[None]:
    """boto3's errors as OSErrors: their number says whether waiting may help, their text holds no secret."""
    import boto3.exceptions
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _of_answer(error, address, bucket) from None
    except boto3.exceptions.RetriesExceededError as error:
        raise BucketError(errno.EREMOTEIO, _first_line(error)) from None
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise BucketError(
            errno.EACCES,
            "no credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)",
        ) from error
    except exceptions.CredentialRetrievalError as error:
        raise BucketError(errno.EREMOTEIO, _first_line(error)) from None
    except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError) as error:
        raise BucketError(errno.EREMOTEIO, f"{endpoint()} does not answer ({type(error).__name__})") from None
    except (exceptions.BotoCoreError, ValueError) as error:
        raise BucketError(errno.EINVAL, _first_line(error)) from None


def _of_answer(error: Any, address: str, bucket: str) -> OSError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in ABSENT:
        return FileNotFoundError(errno.ENOENT, "no such object", address)
    if code in TAKEN:
        return FileExistsError(errno.EEXIST, "another one is there", address)
    if code == "NoSuchBucket":
        return BucketError(errno.ENXIO, f"there is no bucket {bucket!r} at {endpoint()}")
    said = f"{endpoint()} answers {code} ({error.response.get('Error', {}).get('Message', '')})"
    if (status >= 500 and code != "NotImplemented") or status == 429 or code in PASSING_CODES:
        return BucketError(errno.EREMOTEIO, said)
    return BucketError(errno.EACCES if status in (401, 403) else errno.EINVAL, said)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
