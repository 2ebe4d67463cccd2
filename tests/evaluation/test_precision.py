import torch

from raybench.evaluation.precision import flushed_denormals


def test_tiny_numbers_are_zero_inside_and_themselves_outside():
    tiny = torch.tensor([1e-30])
    with flushed_denormals():
        inside = float(tiny * 1e-10)
    assert inside in (0.0, float(tiny * 1e-10))  # Where the CPU cannot flush, nothing changes.
    assert float(tiny * 1e-10) > 0.0
