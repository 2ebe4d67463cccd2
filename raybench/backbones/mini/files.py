"""Weights and sidecars on disk: float16 safetensors, each with a JSON file of the same name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from raybench.backbones.checkpoint import MINI_WEIGHTS, file_digest
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.mini import MINI


def mini_info(name: str) -> BackboneInfo:
    """The catalogue row of a mini backbone, random twins included."""
    return next(info for info in MINI if info.name == name)


def build(info: BackboneInfo, folder: Path = MINI_WEIGHTS) -> nn.Module:
    """Load the network without normalisation: normalised float32 [b, 3, 32, 32] → features [b, d].

    Raises:
        CheckpointError: if the file is absent or its keys are not exactly the architecture's.
    """
    if info.weights == "file":
        info = replace(info, checkpoint=str(weights_path(info.name, folder)))
    model: nn.Module = load_backbone(info).model
    return model.to(memory_format=torch.contiguous_format)


def save_weights(name: str, backbone: nn.Module, folder: Path = MINI_WEIGHTS) -> str:
    """Write the weights as float16 (integer buffers unchanged) and return the SHA-256 of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in backbone.state_dict().items()
    }
    path = weights_path(name, folder)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes files that only the owner can read.
    return file_digest(path)


def weights_path(name: str, folder: Path = MINI_WEIGHTS) -> Path:
    return folder / f"{name}.safetensors"


def write_sidecar(record: dict[str, Any], folder: Path = MINI_WEIGHTS) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / f"{record['name']}.json").write_text(text + "\n", encoding="utf-8")


def read_sidecar(name: str, folder: Path = MINI_WEIGHTS) -> dict[str, Any]:
    """Record that pretraining wrote with the weights; README.md explains its fields."""
    record: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return record
