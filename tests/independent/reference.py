"""Real networks and photographs as timm, torchvision and Pillow give them, without raybench."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

DATA = Path(__file__).parents[3] / "shared/data"
MOBILENET = "mobilenetv2_100__coral-tfslim-quant"
VIT = "vit_tiny_patch16_224__codr-shiv"
BATCH_SIZE = 16


def weights_row(name: str) -> dict[str, Any]:
    return json.loads((DATA / "weights/weights.json").read_text())[name]


def spec_row(name: str) -> dict[str, Any]:
    """A spec's backbone entry for the weight file."""
    entry = weights_row(name)
    return {
        "name": name,
        "timm": entry["timm_model"],
        "checkpoint": str((DATA / "weights" / f"{name}.safetensors").resolve()),
        "kwargs": entry["kwargs"],
        "preprocessing": {**entry["preprocess"], "input_size": entry["preprocess"]["input_size"][-1]},
    }


class Network(nn.Module):
    """A timm model of pixels in [0, 1]: normalisation first, then the network with its own head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        row = weights_row(name)
        preprocess = row["preprocess"]
        self.model = timm.create_model(
            row["timm_model"], checkpoint_path=str(DATA / "weights" / f"{name}.safetensors"), **row["kwargs"]
        )
        self.normalize = v2.Normalize(preprocess["mean"], preprocess["std"])
        size = preprocess["input_size"][-1]
        self.crop = v2.Compose(
            [
                v2.Resize(
                    int(size / preprocess["crop_pct"]),
                    interpolation=v2.InterpolationMode(preprocess["interpolation"]),
                ),
                v2.CenterCrop(size),
            ]
        )
        self.requires_grad_(False).eval()

    def pixels(self, paths: Sequence[Path]) -> np.ndarray:
        """Cropped photographs, bytes [n, s, s, 3]."""
        return np.stack([np.asarray(self.crop(Image.open(path).convert("RGB"))) for path in paths])

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features before the head, [n, d]."""
        with torch.no_grad():
            batches = [
                self.model.forward_head(self.model.forward_features(self.normalize(part)), pre_logits=True)
                for part in as_tensor(pixels).split(BATCH_SIZE)
            ]
        return torch.cat(batches).numpy()

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([self(part) for part in as_tensor(pixels).split(BATCH_SIZE)]).numpy()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(self.normalize(pixels))


def corrupted(pixels: np.ndarray, name: str, severity: int) -> np.ndarray:
    """Bytes [n, s, s, 3] corrupted by `imagecorruptions`; skips the test where that is absent.

    Some of its functions draw from a generator without a seed: here each image has one of its own.
    """
    package = pytest.importorskip("imagecorruptions", reason="needs imagecorruptions-imaug (`make install`)")
    unpatched, results = np.random.default_rng, []
    for position, image in enumerate(pixels):
        np.random.seed(position)
        generator = unpatched(position)
        with mock.patch.object(np.random, "default_rng", return_value=generator):
            results.append(package.corrupt(image, severity=severity, corruption_name=name))
    return np.stack(results)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Bytes [n, s, s, 3] → [n, 3, s, s] in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
