"""End a worker whose step hangs, such as a read from a dead mount that no exception or signal interrupts."""

import contextlib
import faulthandler
import os
import threading
from collections.abc import Callable, Iterator

from raybench.core.errors import SpecError

VARIABLE = "RAYBENCH_STEP_SECONDS"
DEFAULT_SECONDS = 12 * 3600.0
"""Default limit of one step: an epoch, the features, or the final measurements with every evaluator."""
RECORD_SECONDS = 30.0
"""Time to write the record; limited, because the storage itself may hang."""
EXIT_HUNG = 70


def step_limit() -> float:
    """Seconds that one step of a trial may take, from the environment of the driver.

    Raises:
        SpecError: if the variable holds no positive number.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return DEFAULT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise SpecError("environment", [f"{VARIABLE} must be a positive number of seconds, got {text!r}."])
    return seconds


@contextlib.contextmanager
def time_limit(seconds: float, on_timeout: Callable[[], None]) -> Iterator[None]:
    """If the block takes longer than `seconds`, call `on_timeout` and end this process with exit code 70.

    The stack of every thread is written to standard error first, so that the worker's log shows where it
    hung.
    """

    def end() -> None:
        faulthandler.dump_traceback()
        fallback = threading.Timer(RECORD_SECONDS, os._exit, [EXIT_HUNG])
        fallback.daemon = True
        fallback.start()
        try:
            on_timeout()
        finally:
            os._exit(EXIT_HUNG)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
