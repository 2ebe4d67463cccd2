"""Totals of all fuzzing runs, printed at the end."""

import pytest

from .law import TOTALS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print inputs and outcomes per subject."""
    for subject, outcomes in sorted(TOTALS.items()):
        counts = ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))
        terminalreporter.write_line(f"fuzz {subject}: {outcomes.total()} inputs: {counts}")
