"""Fitted classifiers for tests of evaluators: given ones, and a real probe of ten digits."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from raybench.catalog.backbones import find_backbone
from raybench.catalog.dataset_info import Shift
from raybench.catalog.datasets import DATASETS, find_dataset
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.records import Hparams
from raybench.core.registry import load_entry_point
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.features.store import FeatureStore

BACKBONE = "mini_resnet.supervised"


def context_of(dataset: Dataset, folder: Path, backbone: str = BACKBONE) -> TrialContext:
    """A trial on the CPU with its features and checkpoints in `folder`."""
    return TrialContext(
        backbone_info=find_backbone(backbone),
        dataset=dataset,
        store=FeatureStore(folder / "features"),
        device=torch.device("cpu"),
        checkpoint_dir=folder / "checkpoints",
    )


def fitted_as(classifier: Any, dataset: Dataset, folder: Path, **fields: Any) -> FittedClassifier:
    """`classifier` as evaluators receive it."""
    run = SimpleNamespace(classifier=lambda: classifier, class_names=dataset.class_names)
    given = {
        "context": context_of(dataset, folder),
        "run": run,
        "predictions": {},
        "seed": 0,
        "datasets": DATASETS,
        "storage": folder,
        "checkpoint_dir": folder / "partial",
        "is_backbone_frozen": True,
    }
    return FittedClassifier(**{**given, **fields})


def digits(*, is_unlocked: bool = False, **changes: Any) -> Dataset:
    """`digits_10shot`: 100 images for training; all other digits are its shifted test set."""
    info = replace(find_dataset("digits_10shot"), shifts={"digits": Shift()}, **changes)
    dataset = load_dataset(info)
    return dataset.unlocked() if is_unlocked else dataset


def fit_on_digits(folder: Path, protocol: str = "linear_probe", **hparams: Any) -> FittedClassifier:
    """A run of the protocol on `digits`, fitted."""
    dataset = digits(is_unlocked=True)
    context = context_of(dataset, folder)
    given: Hparams = hparams or {"solver": "adamw", "epochs": 5, "lr": 0.01, "weight_decay": 0.0}
    run = load_entry_point(PROTOCOLS[protocol].entry_point)(context, given, 0, 5)
    list(run.run_epochs())
    return fitted_as(
        None,
        dataset,
        folder,
        context=context,
        run=run,
        predictions={split: run.report(split).predictions for split in ("val", "test")},
        is_backbone_frozen=PROTOCOLS[protocol].uses_features,
    )
