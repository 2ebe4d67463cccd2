"""Real weights on real photographs: Caltech-101 by class, Imagenette by the paper's rule and by a list."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_reciprocal_rank

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.retrieval import PRESETS
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
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
IMAGENETTE = SHARED / "datasets/imagenette/val"
PER_CLASS = 50


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
        source=FolderSource(str(SHARED / "datasets/caltech101")),
        splits={"train": "train", "test": "val"},
    )
    dataset = load_dataset(info).unlocked()
    return {name: context_of(name, dataset, folder) for name in (LITE0, SMALL, TWIN)}


def context_of(name, dataset, folder):
    return TrialContext(
        backbone_info=row(name),
        dataset=dataset,
        store=FeatureStore(folder / "features"),
        device=torch.device("cpu"),
        checkpoint_dir=folder / "checkpoint",
    )


@pytest.fixture(scope="module")
def reports(contexts):
    return {name: retrieval(c, PRESETS["paper"], 0, 1).report("test") for name, c in contexts.items()}


def test_better_classifiers_find_more_and_random_weights_little(reports):
    for name, report in reports.items():
        shown(name, report)
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
    shown(choice, changed)
    assert changed.metrics["map"] != reports[LITE0].metrics["map"]


def shown(what, report):
    print(what, report.num_examples, {metric: round(value, 4) for metric, value in report.metrics.items()})


def test_by_the_papers_rule_the_first_fifth_of_imagenette_asks(tmp_path):
    info = DatasetInfo(
        name="imagenette",
        source=FolderSource(str(IMAGENETTE)),
        splits={"train": "all"},
        queries=Queries(kind="first", max_per_class=40),
    )
    dataset = load_dataset(info).unlocked()
    first = [path.name for path in sorted((IMAGENETTE / "n01440764").iterdir())[:8]]
    assert dataset.test.ids[:8] == [f"n01440764/{name}" for name in first]
    found = {}
    for name in (SMALL, TWIN):
        report = retrieval(context_of(name, dataset, tmp_path), PRESETS["paper"], 0, 1).report("test")
        shown(f"paper's rule, {name}", report)
        assert report.num_examples == 80
        found[name] = report.metrics["mrr"]
    assert found[SMALL] > 2 * found[TWIN]


def listed_imagenette(folder):
    """Two photographs of each class ask. Of the others some are easy, some hard, some junk; one of a class is
    in the gallery twice, as a positive and as a negative, so that scores tie."""
    (folder / "jpg").mkdir(parents=True)
    gallery, queries, entries = [], [], []
    for label in sorted(path.name for path in IMAGENETTE.iterdir()):
        names = [path.stem for path in sorted((IMAGENETTE / label).iterdir())]
        for name in names:
            (folder / f"jpg/{name}.jpg").symlink_to(next((IMAGENETTE / label).glob(f"{name}.*")))
        (folder / f"jpg/twin_{names[5]}.jpg").symlink_to(folder / f"jpg/{names[5]}.jpg")
        queries += names[:2]
        gallery += [f"twin_{names[5]}", *names[2:]]
        entries += [{"easy": names[2:20], "hard": names[20:35], "junk": names[35:]}] * 2
    (folder / "gnd.json").write_text(json.dumps({"imlist": gallery, "qimlist": queries, "gnd": entries}))
    return DatasetInfo(
        name="listed",
        source=FolderSource(str(folder)),
        val_fraction=0.0,
        queries=Queries(kind="listed"),
    )


def brute_force(scores, positives, junk):
    """Average precision by sorting (equal scores: the smaller index first), junk out, and by torchmetrics."""
    kept = np.setdiff1d(np.arange(len(scores)), junk)
    order = kept[np.lexsort((kept, -scores[kept]))]
    hits = np.isin(order, positives)
    by_hand = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()
    # Given in our order, without ties: torchmetrics leaves the order of equal scores open.
    reference = retrieval_average_precision(torch.arange(len(hits), 0.0, -1.0), torch.from_numpy(hits))
    assert float(reference) == pytest.approx(by_hand, abs=1e-6)
    return by_hand


def test_a_listed_truth_over_photographs_equals_brute_force_ties_and_junk_included(tmp_path):
    info = listed_imagenette(tmp_path / "listed")
    found = {}
    for difficulty in ("easy", "medium", "hard"):
        asked = replace(info, queries=Queries(kind="listed", difficulty=difficulty))
        context = context_of(SMALL, load_dataset(asked).unlocked(), tmp_path)
        report = retrieval(context, PRESETS["paper"], 0, 1).report("test")
        shown(f"listed, {difficulty}", report)
        assert (context.store.num_forward_images > 0) == (difficulty == "easy")
        found[difficulty] = report
        parts = (
            context.store.get(context.backbone_info, context.dataset, split) for split in ("train", "test")
        )
        gallery, queries = (np.asarray(part.features, dtype=np.float32) for part in parts)
        gallery, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (gallery, queries))
        scores = (queries.astype(np.float64) @ gallery.astype(np.float64).T).astype(np.float32)
        truth = context.dataset.gallery("test").truth
        expected = [brute_force(scores[q], truth.positives(q), truth.junk(q)) for q in range(len(queries))]
        np.testing.assert_allclose(report.per_query["map"], expected, atol=1e-6)
        num_ties = sum(len(row) - len(np.unique(row)) for row in scores)
        assert num_ties >= len(queries) * 10  # Every twin ties with its photograph.
    assert found["easy"].num_examples == 20
    choice = {**PRESETS["paper"], "scales": "multi"}
    several = retrieval(context, choice, 0, 1).report("test")
    shown("listed, hard, several scales", several)
    assert several.metrics["map"] != found["hard"].metrics["map"]
