"""`python -m tests.benchmarks.feature_settings DATA [SETTING=VALUE ...]`: effect of `features` on accuracy.

DATA holds `weights/` with `weights.json`, and `datasets/` with the folders `imagenette` and `caltech101`,
each with `train` and `val`. For two checkpoints and both datasets: accuracy on val of scikit-learn's logistic
regression on standardised train features, with the default settings and with each changed one; and how far
features move, as 1 - cosine to the default ones (median and maximum over images).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.feature_settings import FeatureSettings
from raybench.data.dataset import Dataset, Examples
from raybench.data.loading import load_dataset
from raybench.features.extraction import extract_features

CHECKPOINTS = ("vit_tiny_patch16_224__codr-shiv", "mobilenetv2_100__coral-tfslim-quant")
DATASETS = ("imagenette", "caltech101")


def main(data: Path, changes: list[str]) -> None:
    """Print one line per checkpoint, dataset and setting."""
    torch.set_num_threads(1)
    rows = json.loads((data / "weights" / "weights.json").read_text())
    variants = [FeatureSettings(**dict([change.split("=")])) for change in changes]  # type: ignore[arg-type]
    for checkpoint in CHECKPOINTS:
        row = rows[checkpoint]
        preprocessing = {**row["preprocess"], "input_size": row["preprocess"]["input_size"][1]}
        info = BackboneInfo(
            name=checkpoint,
            timm=row["timm_model"],
            kwargs=row["kwargs"],
            weights="file",
            checkpoint=str(data / "weights" / f"{checkpoint}.safetensors"),
            preprocessing=preprocessing,
        )
        for name in DATASETS:
            source = FolderSource(str(data / "datasets" / name))
            dataset = load_dataset(DatasetInfo(name=name, source=source)).unlocked()
            train, test = _joined_train(dataset)
            expected = _features(info, train, test, FeatureSettings())
            print(
                f"{checkpoint} {name}: default: accuracy {_accuracy(expected, train, test):.4f}", flush=True
            )
            for settings in variants:
                changed = _features(info, train, test, settings)
                distance = 1 - _cosines(expected[1], changed[1])
                accuracy = _accuracy(changed, train, test)
                print(f"{checkpoint} {name}: {settings.changed}: accuracy {accuracy:.4f}, ", end="")
                print(f"1 - cosine {np.median(distance):.1e} (largest {distance.max():.1e})", flush=True)


def _joined_train(dataset: Dataset) -> tuple[list[Examples], Examples]:
    return [dataset.train, dataset.val], dataset.test


def _features(
    info: BackboneInfo, train: list[Examples], test: Examples, settings: FeatureSettings
) -> tuple[np.ndarray, np.ndarray]:
    backbone = load_backbone(info)

    def of(examples: Examples) -> np.ndarray:
        stream = extract_features(
            backbone, examples, [FeatureSpec()], device="cpu", batch_size=16, settings=settings
        )
        return np.concatenate([batch for (batch,) in stream])

    return np.concatenate([of(examples) for examples in train]), of(test)


def _accuracy(features: tuple[np.ndarray, np.ndarray], train: list[Examples], test: Examples) -> float:
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    head.fit(features[0], np.concatenate([examples.targets for examples in train]))
    return float(head.score(features[1], test.targets))


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
