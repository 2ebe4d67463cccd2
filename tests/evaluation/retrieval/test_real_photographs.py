"""Real weights on real photographs: Caltech-101, val photographs asking for their class among train's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_reciprocal_rank

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import DatasetInfo
from raybench.catalog.retrieval import PRESETS
from raybench.data.loading import load_dataset
from raybench.evaluation.context import TrialContext
from raybench.evaluation.retrieval.protocol import retrieval
from raybench.features.store import FeatureStore

SHARED = Path(__file__).parents[4] / "shared/data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights and images of ../shared/data"),
]
LITE0 = "tf_efficientnet_lite0__modelmaker-int8-backbone"
SMALL = "mobilenetv2_035__teachable-machine-backbone"
TWIN = "mobilenetv2_035.random"
NUM_QUERIES = 300


def row(name: str) -> BackboneInfo:
    if name == TWIN:
        return BackboneInfo(name=name, timm="mobilenetv2_035", weights="random")
    entry = json.loads((SHARED / "weights/weights.json").read_text())[name]
    return BackboneInfo(
        name=name,
        timm=entry["timm_model"],
        weights="file",
        checkpoint=str(SHARED / "weights" / f"{name}.safetensors"),
        kwargs=entry["kwargs"],
        preprocessing={**entry["preprocess"], "input_size": entry["preprocess"]["input_size"][-1]},
    )


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """Backbone → its context; every photograph of the folder `val` is the experiment's test."""
    folder = tmp_path_factory.mktemp("retrieval")
    info = DatasetInfo(
        name="caltech101",
        source="folder",
        location=str(SHARED / "datasets/caltech101"),
        splits={"train": "train", "test": "val"},
    )
    dataset = load_dataset(info).unlocked()
    return {
        name: TrialContext(
            backbone_info=row(name),
            dataset=dataset,
            store=FeatureStore(folder / "features"),
            device=torch.device("cpu"),
            checkpoint_dir=folder / "checkpoint",
        )
        for name in (LITE0, SMALL, TWIN)
    }


@pytest.fixture(scope="module")
def reports(contexts):
    return {name: retrieval(c, PRESETS["paper"], 0, 1).report("test") for name, c in contexts.items()}


def test_better_classifiers_find_more_and_random_weights_little(reports):
    for name, report in reports.items():
        shown = {metric: round(value, 4) for metric, value in report.metrics.items()}
        print(name, report.num_examples, shown)
        assert report.num_examples == NUM_QUERIES
    values = {name: report.metrics["map"] for name, report in reports.items()}
    assert values[LITE0] > values[SMALL] > 2 * values[TWIN]


def test_values_agree_with_torchmetrics_on_real_features(contexts, reports):
    context = contexts[SMALL]
    train, asked = (
        context.store.get(context.backbone_info, context.dataset, split) for split in ("train", "test")
    )
    gallery, queries = (np.asarray(part.features, dtype=np.float64) for part in (train, asked))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores = torch.from_numpy(queries @ gallery.T)
    target = torch.from_numpy(asked.targets[:, None] == train.targets[None])
    for metric, reference in (("map", retrieval_average_precision), ("mrr", retrieval_reciprocal_rank)):
        expected = [float(reference(s, t)) for s, t in zip(scores, target, strict=True)]
        np.testing.assert_allclose(reports[SMALL].per_query[metric], expected, atol=1e-6)


@pytest.mark.parametrize("choice", [{"normalisation": "pca_whiten"}, {"query_expansion": 1}])
def test_options_change_what_is_found(contexts, reports, choice):
    changed = retrieval(contexts[LITE0], {**PRESETS["paper"], **choice}, 0, 1).report("test")
    print(choice, {metric: round(value, 4) for metric, value in changed.metrics.items()})
    assert changed.metrics["map"] != reports[LITE0].metrics["map"]
