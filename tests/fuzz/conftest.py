"""The tests marked `fuzz` run only with `-m fuzz`; the totals of all runs are printed at the end."""

import pytest

from .law import TOTALS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long runs out unless they are requested."""
    if "fuzz" in (config.option.markexpr or ""):
        return
    long_runs = [item for item in items if item.get_closest_marker("fuzz")]
    config.hook.pytest_deselected(items=long_runs)
    items[:] = [item for item in items if item not in long_runs]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print inputs and outcomes per subject."""
    for subject, outcomes in sorted(TOTALS.items()):
        counts = ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))
        terminalreporter.write_line(f"fuzz {subject}: {outcomes.total()} inputs: {counts}")
