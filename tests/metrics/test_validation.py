import numpy as np

from raybench.metrics.validation import validated_tensors


def test_a_read_only_memory_map_is_taken_without_a_warning(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((2, 3), np.float32))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    scores, labels = validated_tensors("accuracy", mapped, np.array([0, 2]))
    assert scores.shape == (2, 3)
    assert labels.tolist() == [0, 2]
