"""Rows that this package adds to raybench. Imports nothing heavy: `raybench list` loads this module."""

from dataclasses import replace
from typing import Any

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_sources import FunctionSource
from raybench.catalog.datasets import DATASETS as RAYBENCH_DATASETS
from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings
from raybench.catalog.tasks import WITHOUT_GRADIENTS, ProtocolInfo
from raybench.metrics import ArrayMetric, Metric, NotResampled, PerExampleMean

COLOUR_GRID = BackboneInfo(
    name="colour_grid.none",
    entry_point="tiny_plugin.network:colour_grid",
    kwargs={"side": 4},
    weights="entry_point",
    preprocessing={
        "input_size": 32,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    },
    family="unknown",
    method="none",
    pretrain_data="none",
    pretrain_images=0,
    params_m=0.0,
)

DATASETS = [
    replace(
        RAYBENCH_DATASETS["digits"],
        name="tiny_digits",
        source=FunctionSource("tiny_plugin.rotated:read_rotated_digits"),
    )
]

NEAREST_MEAN = ProtocolInfo(
    name="nearest_mean",
    entry_point="tiny_plugin.nearest_mean:nearest_mean",
    metrics=("accuracy", "top3_accuracy"),
    gpus=0,
    evaluators=WITHOUT_GRADIENTS,
    doc="The class whose mean training feature is nearest.",
)


class MarginSettings(EvaluatorSettings):
    """Nothing to set."""


MARGIN = EvaluatorInfo(
    name="margin",
    entry_point="tiny_plugin.margin:margin",
    needs="predictions",
    metrics=("mean_margin",),
    headline="mean_margin",
    section="Margins",
    settings=MarginSettings,
    presets={"standard": MarginSettings()},
    curves=(
        CurveInfo(
            name="margins",
            title="Margins on test",
            x="share",
            y="margin",
            x_title="share of images",
            y_title="margin",
        ),
    ),
    doc="How far is the best class ahead of the second best?",
)


def _is_in_top3(logits: Any, targets: Any) -> Any:
    return (logits.argsort(axis=1)[:, -3:] == targets[:, None]).any(axis=1)


def _top3_accuracy(logits: Any, targets: Any) -> float:
    return float(_is_in_top3(logits, targets).mean())


def _top3_statistic(logits: Any, targets: Any) -> PerExampleMean:
    return PerExampleMean(_is_in_top3(logits, targets).astype(float))


def metrics() -> list[Metric]:
    """One metric of logits and targets, and one that the evaluator computes."""
    return [
        ArrayMetric(
            name="top3_accuracy",
            compute=_top3_accuracy,
            direction="max",
            bounds=(0.0, 1.0),
            resampling=_top3_statistic,
            doc="Share of examples whose class is among the best three.",
        ),
        Metric(
            name="mean_margin",
            direction="max",
            bounds=(0.0, float("inf")),
            resampling=NotResampled("margins of single images are not stored"),
            doc="Lead of the best class.",
        ),
    ]
