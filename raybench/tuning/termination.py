"""SIGTERM, as a spot instance, `ray job stop` or Kubernetes sends it: leave within the grace period."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_TERMINATED = 128 + signal.SIGTERM
"""What a shell reports of a process that SIGTERM ended: 143."""


@contextlib.contextmanager
def sigterm_interrupts(on_sigterm: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGTERM does what Ctrl-C does, after `on_sigterm`: Tune ends its loop and tidies up.

    Enter it after `ray.init`, which sets a handler of its own. Where no Python code catches Ctrl-C yet, the
    process leaves at once with `EXIT_TERMINATED`. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        on_sigterm()
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN):
            raise SystemExit(EXIT_TERMINATED)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
