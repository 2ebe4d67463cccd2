"""Ends a worker whose step hangs: a data loader on a dead mount answers no exception and no signal."""

import contextlib
import faulthandler
import os
import threading
from collections.abc import Callable, Iterator

from raybench.core.errors import SpecError

VARIABLE = "RAYBENCH_STEP_SECONDS"
DEFAULT_SECONDS = 12 * 3600.0
"""Of one step: an epoch, or the features, or the final measurements with every evaluator."""
LAST_WORDS_SECONDS = 30.0
"""For writing the record; the storage may be what hangs."""
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
def time_limit(seconds: float, last_words: Callable[[], None]) -> Iterator[None]:
    """End this process if the block takes longer than `seconds`: `last_words`, then exit code 70.

    The stack of every thread goes to standard error first, so that the worker's log says where it hung.
    """

    def end() -> None:
        faulthandler.dump_traceback()
        giving_up = threading.Timer(LAST_WORDS_SECONDS, os._exit, [EXIT_HUNG])
        giving_up.daemon = True
        giving_up.start()
        try:
            last_words()
        finally:
            os._exit(EXIT_HUNG)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
