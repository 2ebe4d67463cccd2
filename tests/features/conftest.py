"""Shared fixtures: a dataset of 24 random images and a small backbone."""

import sys
from pathlib import Path

import pytest

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone
from raybench.data.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves it out.
from drawn import make_dataset


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture
def info() -> BackboneInfo:
    return find_backbone("mini_resnet.random")
