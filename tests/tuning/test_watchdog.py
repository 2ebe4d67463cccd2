"""A hanging step ends its process; other steps are not affected."""

import subprocess
import sys
import threading

import pytest

from raybench.core.errors import SpecError
from raybench.tuning.watchdog import DEFAULT_SECONDS, EXIT_HUNG, VARIABLE, step_limit, time_limit
from tests.processes import DEADLINE_SECONDS

HANGING = """
import os, sys
from pathlib import Path
from raybench.tuning.watchdog import time_limit
fifo = Path(sys.argv[1])
os.mkfifo(fifo)

def read_dead_mount():
    with time_limit(0.5, lambda: Path(sys.argv[2]).write_text("hung")):
        fifo.read_bytes()  # Never returns: no writer opens the pipe.

read_dead_mount()
"""


def test_a_read_that_never_returns_ends_the_process_and_logs_its_stack(tmp_path):
    command = [sys.executable, "-c", HANGING, tmp_path / "fifo", tmp_path / "record"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == EXIT_HUNG
    assert (tmp_path / "record").read_text() == "hung"
    assert "read_dead_mount" in done.stderr


def test_the_timer_is_cancelled_when_the_step_ends_in_time():
    before = set(threading.enumerate())
    with time_limit(3600, lambda: None):
        timer = next(t for t in set(threading.enumerate()) - before if isinstance(t, threading.Timer))
    timer.join(DEADLINE_SECONDS)
    assert not timer.is_alive()


def test_the_limit_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert step_limit() == DEFAULT_SECONDS
    monkeypatch.setenv(VARIABLE, "90")
    assert step_limit() == 90


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "an hour"])
def test_a_limit_that_is_no_positive_number_is_refused(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(SpecError, match="positive number of seconds"):
        step_limit()
