"""Fixture of image folders, drawn in code."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _draw_folder(root: Path, splits: dict[str, dict[str, int]], size: int = 12, seed: int = 0) -> Path:
    # An empty split name puts the classes at the root.
    rng = np.random.default_rng(seed)
    for split, classes in splits.items():
        for name, count in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture
def draw_folder() -> Callable[..., Path]:
    """`draw_folder(root, {split: {class: count}})` writes PNGs of noise below `root`, no two alike."""
    return _draw_folder
