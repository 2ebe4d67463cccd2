"""Record why a trial failed on an unexpected exception, with its traceback in the storage."""

import traceback
from dataclasses import replace

from raybench.core.errors import RaybenchError
from raybench.core.records import TrialRecord, TrialRequest
from raybench.store import layout, ledger
from raybench.store.files import StoragePath, write_atomic


def record_crash(storage: StoragePath, request: TrialRequest, error: Exception) -> None:
    """Set the trial's record to failed, with type and message of the exception; keep values on test.

    The traceback of an exception that is not raybench's own is written to a file, which the record names.

    Raises:
        StorageUnavailableError: if the storage cannot be written.
    """
    reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    if not isinstance(error, RaybenchError):
        path = layout.traceback_file(storage, request.experiment, request.trial_id)
        text = "".join(traceback.format_exception(error)).encode(errors="replace")
        write_atomic(path, lambda file: file.write(text))
        reason = f"{reason.partition(chr(10))[0]} (traceback in {path})"
    record = ledger.read_record(storage, request.experiment, request.trial_id)
    if record is None or not record.is_measured_on_test:
        record = TrialRecord.of(request, "failed")
    ledger.write_record(storage, replace(record, status="failed", reason=reason))
