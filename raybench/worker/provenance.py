"""Provenance of measurements: checkpoint, dataset, preprocessing, versions, device."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.feature_settings import FeatureSettings
from raybench.core.records import Provenance
from raybench.data.dataset import Dataset
from raybench.features.process_cache import cached_backbone_summary

REPORTED_VERSIONS = (
    "raybench",
    "torch",
    "timm",
    "torchvision",
    "torchmetrics",
    "scikit-learn",
    "numpy",
    "optuna",  # Its samplers choose the trials.
)


def provenance_of(
    backbone: BackboneInfo, dataset: Dataset, device: str, features: FeatureSettings | None
) -> dict[str, Any]:
    """Provenance to store with every measurement of a trial, JSON-ready.

    Args:
        features: how its frozen features were computed; None if it has none.
    """
    summary = cached_backbone_summary(backbone)
    provenance = Provenance(
        checkpoint_digest=summary.checkpoint_digest,
        dataset_fingerprint=dataset.fingerprint,
        duplicates_removed=dict(dataset.hygiene.duplicates_removed),
        num_skipped=dataset.hygiene.num_skipped,
        preprocessing=summary.preprocessing,
        num_params=summary.num_params,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in REPORTED_VERSIONS},
        },
        device=torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        features=features.changed if features else {},
    )
    return provenance.as_dict()
