import subprocess
import sys

import numpy as np
import pytest

from raybench.core.errors import UnknownNameError
from raybench.metrics import METRICS


def test_direction_and_bounds_are_known_without_torch():
    code = (
        "import sys; from raybench.metrics import METRICS; "
        "print(METRICS['nll'].direction, METRICS['accuracy'].bounds, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[0] == "min (0.0, 1.0) False"


def test_better_means_lower_where_lower_is_better():
    assert METRICS["nll"].is_better(0.1, than=0.2)
    assert not METRICS["nll"].is_better(0.2, than=0.2)
    assert METRICS["accuracy"].is_better(0.2, than=0.1)


def test_a_misspelled_metric_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        METRICS["acuracy"].compute(np.zeros((1, 2)), np.zeros(1, np.int64))
