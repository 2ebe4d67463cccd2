"""Shared fixtures: a small architecture and its weights as a file."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from raybench.catalog.backbone_info import BackboneInfo

ARCHITECTURE = "resnet10t"
KWARGS = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8}


@pytest.fixture
def trained() -> torch.nn.Module:
    """A small ResNet with a 5-class head and batch-norm statistics that are not the initial ones."""
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE, num_classes=5, **KWARGS)
    model.train()(torch.randn(8, 3, 32, 32))
    return model.eval().to(memory_format=torch.channels_last)  # As raybench does: equal to the last bit.


@pytest.fixture
def weights(trained: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, path)
    return path


@pytest.fixture
def info(weights: Path) -> BackboneInfo:
    return BackboneInfo(
        name="small",
        timm=ARCHITECTURE,
        kwargs=KWARGS,
        weights="file",
        checkpoint=str(weights),
        preprocessing={"input_size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)},
    )
