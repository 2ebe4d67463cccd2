"""Feature extraction from decoded images and JPEG files, against a bare forward pass on ready tensors."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

from raybench.backbones.loading import load_backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.features.store import FeatureStore
from tests.benchmarks.clock import in_turn
from tests.benchmarks.ratio import Ratio
from tests.benchmarks.synthetic import dataset_of, make_images
from tests.pixels import to_pixels

ARCHITECTURES = ("resnet18", "vit_tiny_patch16_224")
BATCH_SIZE = 64
TOLERANCE = 1e-4
"""Largest difference of a feature, relative to the largest feature."""


def measure(quick: bool) -> list[Ratio]:
    """From decoded images: resize, crop, normalise, check, and write the feature store."""
    images = make_images(64 if quick else 256, 256, 320)
    dataset = dataset_of(images)
    return [
        _compare(name, images, lambda _: dataset, ["train"], 1.10, "decoded images", lambda: None, quick)
        for name in ARCHITECTURES
    ]


def measure_jpeg(quick: bool) -> list[Ratio]:
    """From files: list them, check for duplicates (decoding and hashing), then as from decoded images."""
    images = make_images(64 if quick else 256, 375, 500)
    with tempfile.TemporaryDirectory() as folder:
        files = _write_jpegs(images, Path(folder))
        info = DatasetInfo(name="jpegs", source=FolderSource(folder), splits={"train": "all"})
        decoded = [np.asarray(Image.open(file).convert("RGB")) for file in files]
        return [
            _compare(
                name,
                decoded,
                lambda cache: load_dataset(info, cache=cache),
                ["train", "val", "test"],
                1.15,
                "JPEG files",
                lambda: [np.asarray(Image.open(file).convert("RGB")) for file in files],
                quick,
            )
            for name in ARCHITECTURES
        ]


def _compare(
    architecture: str,
    images: np.ndarray | list[np.ndarray],
    load: Callable[[Path], Dataset],
    splits: list,
    target: float,
    source: str,
    decode: Callable[[], object],
    quick: bool,
) -> Ratio:
    info = BackboneInfo(name=f"{architecture}.random", timm=architecture, weights="random")
    preprocessing = preprocessing_of(info)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    ready = torch.stack([(to_pixels(np.asarray(image), preprocessing) - mean) / std for image in images])
    model = load_backbone(info).model
    features: dict[str, np.ndarray] = {}

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            dataset = load(Path(folder, "hashes")).unlocked()
            store = FeatureStore(Path(folder))
            store.ensure(info, dataset, splits, batch_size=BATCH_SIZE)
            parts = [store.get(info, dataset, split, batch_size=BATCH_SIZE).features for split in splits]
            features["ours"] = np.concatenate(parts)

    def theirs() -> None:
        decode()
        timm.create_model(architecture, num_classes=0)  # Both sides load a checkpoint.
        with torch.inference_mode():
            batches = [model(batch).numpy() for batch in ready.split(BATCH_SIZE)]
        features["theirs"] = np.concatenate(batches)

    spent = in_turn({"ours": ours, "theirs": theirs}, rounds=3 if quick else 5)
    # The splits reorder the images, so compare sorted rows.
    rows = [np.sort(features[side].sum(axis=1)) for side in ("ours", "theirs")]
    gap = float(np.abs(rows[0] - rows[1]).max() / np.abs(rows[1]).max())
    per_image = {side: value / len(ready) for side, value in spent.items()}
    return Ratio(
        name=f"extraction from {source}, {architecture}",
        ours="from images to the feature store",
        theirs=f"forward pass on ready tensors{' + decoding' if source == 'JPEG files' else ''}",
        target=target,
        measured=spent["ours"] / spent["theirs"],
        gate=f"features equal within {gap:.1e} of the largest",
        is_gate_passed=gap <= TOLERANCE,
        note=f"{1000 * per_image['ours']:.1f} and {1000 * per_image['theirs']:.1f} ms of CPU per image.",
        numbers={f"{side}_cpu_seconds_per_image": value for side, value in per_image.items()},
    )


def _write_jpegs(images: np.ndarray, folder: Path) -> list[Path]:
    files = []
    for index, image in enumerate(images):
        file = folder / ("a", "b")[index % 2] / f"{index:05d}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file, quality=90)
        files.append(file)
    return files
