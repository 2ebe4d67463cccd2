"""Real ImageNet weights on real photographs: the 1000-way accuracy of the checkpoints' own heads.

Checks everything between a file and a logit: decoding, resizing, cropping, normalisation, padding, strict
loading, and the head. A wrong mean costs 17 points here, a wrong padding 8.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.data.batches import batches
from raybench.data.loading import load_dataset

SHARED = Path(__file__).parents[3] / "shared/data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights and images of ../shared/data"),
]


def row(name: str) -> BackboneInfo:
    entry = json.loads((SHARED / "weights/weights.json").read_text())[name]
    return BackboneInfo(
        name=name,
        timm=entry["timm_model"],
        kwargs=entry["kwargs"],
        weights="file",
        checkpoint=str(SHARED / "weights" / f"{name}.safetensors"),
        preprocessing=entry["preprocess"],
    )


def verified_top1(name: str) -> float:
    entry = json.loads((SHARED / "weights/weights.json").read_text())[name]
    return float(entry["verified"]["top1_1000way"])


@pytest.fixture(scope="module")
def photographs():
    location = str(SHARED / "datasets/imagenette")
    info = DatasetInfo(
        name="imagenette", source=FolderSource(location), splits={"train": "train", "test": "val"}
    )
    return load_dataset(info).unlocked()


def imagenet_indices(wnids: tuple[str, ...]) -> torch.Tensor:
    """ImageNet's class index is the rank of a class's WordNet id among the thousand."""
    everything = sorted(path.name for path in (SHARED / "datasets/imagenet1k_samples_256/val").iterdir())
    return torch.tensor([everything.index(wnid) for wnid in wnids])


def share_correct(info: BackboneInfo, examples, class_names: tuple[str, ...]) -> float:
    """Top-1 over 1000 classes, in [0, 1]."""
    backbone = load_backbone(info, keep_head=True).freeze()
    with torch.inference_mode():
        stream = batches(examples, backbone.preprocessing, 16)
        predicted = torch.cat([backbone.head(backbone(pixels)).argmax(dim=1) for pixels in stream])
    truth = imagenet_indices(class_names)[torch.from_numpy(examples.targets)]
    return float((predicted == truth).double().mean())


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224__codr-shiv",
        "mobilenetv2_100__coral-tfslim-quant",
        "mobilenetv1_100__coral-tfslim-quant",
    ],
)
def test_the_checkpoints_own_head_reaches_its_known_accuracy(photographs, name):
    """The other two files with ImageNet heads reached theirs too when this was written; here to save time."""
    measured = share_correct(row(name), photographs.test, photographs.class_names)
    assert measured == pytest.approx(verified_top1(name), abs=0.005)


def test_the_normalisation_of_another_backbone_costs_accuracy(photographs):
    """One normalisation for all backbones, as in the paper's released code, costs this ViT over 10 points."""
    info = row("vit_tiny_patch16_224__codr-shiv")
    wrong = {**info.preprocessing, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    twisted = BackboneInfo(
        name="twisted", timm=info.timm, weights="file", checkpoint=info.checkpoint, preprocessing=wrong
    )
    subset = photographs.test.take(np.arange(0, 500, 5))
    right, mistaken = (
        share_correct(candidate, subset, photographs.class_names) for candidate in (info, twisted)
    )
    assert right - mistaken > 0.1


@pytest.mark.parametrize(
    ("name", "num_features"),
    [
        ("tf_efficientnet_lite0__modelmaker-int8-backbone", 1280),
        ("mobilenetv2_035__teachable-machine-backbone", 1280),
        ("mobilenetv2_100__coral-inat-bird", 1280),
    ],
)
def test_headless_and_foreign_headed_files_give_features(photographs, name, num_features):
    backbone = load_backbone(row(name)).freeze()
    pixels = next(batches(photographs.test, backbone.preprocessing, 4))
    assert backbone(pixels).shape == (4, num_features)


def test_half_precision_files_load_as_single_precision():
    backbone = load_backbone(row("mobilenetv2_035__teachable-machine-backbone"))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
