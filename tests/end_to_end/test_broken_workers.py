"""Workers broken in ways that raybench does not know: the user is told the exception."""

from pathlib import Path

import pytest

from tests.end_to_end import broken_workers

SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@digits_10shot]
search: {sampler: qmc, num_trials: 1, early_stopping: none}
budget: smoke
seeds: [0]
"""


@pytest.mark.slow
def test_an_unknown_exception_in_a_worker_is_told_with_a_way_to_its_traceback(raybench, tmp_path):
    (tmp_path / "small.yaml").write_text(SPEC)
    hook = f"{broken_workers.__name__}.with_broken_protocol"
    command = ("run", tmp_path / "small.yaml", "--storage", tmp_path / "storage", "--num-cpus", 1)
    root = str(Path(__file__).parents[2])  # Workers import the hook.
    done = raybench(*command, RAY_RUNTIME_ENV_HOOK=hook, PYTHONPATH=root)
    assert done.returncode == 1, done.stderr
    assert "KeyError: 'a bug of mine' (traceback in " in done.stderr
    path = done.stderr.partition("(traceback in ")[2].partition(")")[0]
    assert "broken_workers.py" in Path(path).read_text()
