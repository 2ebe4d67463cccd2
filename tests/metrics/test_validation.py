import numpy as np
import pytest

from raybench.core.errors import EmptyInputError, NonFiniteMeasurementError
from raybench.metrics.validation import validated_tensors


def test_a_read_only_memory_map_is_taken_without_a_warning(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((2, 3), np.float32))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    scores, labels = validated_tensors("accuracy", mapped, np.array([0, 2]))
    assert scores.shape == (2, 3)
    assert labels.tolist() == [0, 2]


def test_nothing_to_measure_is_refused():
    with pytest.raises(EmptyInputError, match="at least one example"):
        validated_tensors("accuracy", np.zeros((0, 3)), np.zeros(0, np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(NonFiniteMeasurementError, match="NaN or infinite"):
        validated_tensors("nll", np.array([[bad, 0.0]]), np.array([0]))


def test_a_target_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"targets in \[0, 2\), got \[0, 2\]"):
        validated_tensors("accuracy", np.zeros((2, 2)), np.array([0, 2]))


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"got shapes \[2, 2\] and \[3\]"):
        validated_tensors("accuracy", np.zeros((2, 2)), np.zeros(3, np.int64))
