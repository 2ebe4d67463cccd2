"""Weights and sidecars on disk: float16 safetensors, and a JSON file of the same name beside each."""

import hashlib
import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.mini import MINI
from raybench.core.errors import CheckpointError

WEIGHTS = Path(__file__).parent / "weights"
"""What `package:` in a checkpoint path stands for."""


def mini_info(name: str) -> BackboneInfo:
    """The catalogue row of a mini backbone, twins included."""
    return next(info for info in MINI if info.name == name)


def build(info: BackboneInfo, folder: Path = WEIGHTS) -> nn.Module:
    """The headless backbone in eval mode: normalised float32 [b, 3, 32, 32] → features [b, d].

    Raises:
        CheckpointError: if the file is absent or its keys are not exactly the architecture's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(info.init_seed)
        backbone: nn.Module = timm.create_model(info.timm, num_classes=0, **info.kwargs)
    if info.weights == "file":
        path = weights_path(info.name, folder)
        if not path.exists():
            raise CheckpointError(
                f"no weights at {path}; raybench.backbones.mini.pretrain {info.name} makes them."
            )
        try:
            backbone.load_state_dict(load_file(path), strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit {info.timm}: {error}") from None
    return backbone.eval()


def save_weights(name: str, backbone: nn.Module, folder: Path = WEIGHTS) -> str:
    """Write the weights as float16 (integer buffers stay as they are); return the file's SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in backbone.state_dict().items()
    }
    path = weights_path(name, folder)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes for the owner only; an installed package is read by others.
    return sha256(path)


def weights_path(name: str, folder: Path = WEIGHTS) -> Path:
    return folder / f"{name}.safetensors"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_sidecar(record: dict[str, Any], folder: Path = WEIGHTS) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / f"{record['name']}.json").write_text(text + "\n", encoding="utf-8")


def read_sidecar(name: str, folder: Path = WEIGHTS) -> dict[str, Any]:
    """The record that pretraining wrote beside the weights; README.md explains its fields."""
    record: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return record
