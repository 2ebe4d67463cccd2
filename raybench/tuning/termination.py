"""Handle SIGTERM (from a spot instance, `ray job stop`, Kubernetes): end within the grace period."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended, as a shell reports it: 143."""


@contextlib.contextmanager
def sigterm_interrupts(on_sigterm: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGTERM calls `on_sigterm`, then acts like Ctrl-C: Tune ends its loop and cleans up.

    Enter the block after `ray.init`, which sets a handler of its own. While Tune has no handler for Ctrl-C,
    SIGTERM exits at once with `EXIT_TERMINATED`. Outside the main thread the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        on_sigterm()
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN):
            raise SystemExit(EXIT_TERMINATED)
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous if previous is not None else signal.SIG_DFL)
