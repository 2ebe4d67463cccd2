"""Query and gallery embeddings: several scales, galleries of several parts, distractors, listed truths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.catalog.backbones import find_backbone
from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import FunctionSource
from raybench.catalog.retrieval import PRESETS, SCALES
from raybench.data.dataset import Dataset, Examples, HygieneReport
from raybench.data.ground_truth import Gallery, ListedTruth
from raybench.data.source import SourceSplit
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.retrieval.protocol import retrieval
from raybench.evaluation.retrieval.query_gallery import QueryGallery, mean_over_scales
from raybench.evaluation.retrieval.whitening import unit_rows
from raybench.features.store import FeatureStore

PAPER = PRESETS["paper"]
MULTI = {**PAPER, "scales": "multi"}


def drawn(name, count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)
    source = SourceSplit(
        ids=[f"{name}{i}" for i in range(count)],
        targets=np.arange(count) % 3,
        read=images.__getitem__,
        signature=name,
    )
    return Examples(source, np.arange(count), [f"{name}{seed}{i}" for i in range(count)])


def dataset_of(galleries=None, distractors=None):
    splits = {"train": drawn("train", 12, 0), "val": drawn("val", 6, 1), "test": drawn("test", 5, 2)}
    info = DatasetInfo(name="drawn", source=FunctionSource("shapes"))
    return Dataset(
        info, ("a", "b", "c"), splits, HygieneReport(), galleries=galleries, distractors=distractors
    ).unlocked()


@pytest.fixture
def context(tmp_path):
    def make(**parts):
        return TrialContext(
            backbone_info=find_backbone("mini_vit.random"),
            dataset=dataset_of(**parts),
            store=FeatureStore(tmp_path / "features"),
            device=torch.device("cpu"),
            checkpoint_dir=tmp_path / "checkpoint",
        )

    return make


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_equal_scales_are_as_one_and_their_order_is_no_matter(seed, count):
    random = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(7, 5, generator=random) for _ in range(2))
    torch.testing.assert_close(mean_over_scales([one] * count, 1.0), unit_rows(one))
    torch.testing.assert_close(mean_over_scales([one, other], 1.0), mean_over_scales([other, one], 1.0))
    torch.testing.assert_close(mean_over_scales([one * 7.0, other], 1.0), mean_over_scales([one, other], 1.0))


def test_the_generalised_mean_by_hand():
    parts = [torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])]  # Unit: (0.6, 0.8) and (1, 0).
    expected = torch.tensor([[((0.6**3 + 1) / 2) ** (1 / 3), (0.8**3 / 2) ** (1 / 3)]])
    torch.testing.assert_close(mean_over_scales(parts, 3.0), unit_rows(expected))


def test_several_scales_are_computed_once_and_leave_the_single_ones_cache_alone(context):
    where = context()
    retrieval(where, PAPER, 0, 1).report("val")
    once = where.store.num_forward_images
    single = {entry.key for entry in where.store.entries()}
    first = retrieval(where, MULTI, 0, 1).report("val")
    assert where.store.num_forward_images == 3 * once
    again = retrieval(where, MULTI, 0, 1).report("val")
    assert where.store.num_forward_images == 3 * once
    assert again.metrics == first.metrics
    assert single < {entry.key for entry in where.store.entries()}


def test_one_scale_alone_equals_the_single_one(context, monkeypatch):
    where = context()
    single = retrieval(where, PAPER, 0, 1).report("val").metrics
    monkeypatch.setitem(SCALES, "multi", (1.0, 1.0))
    assert retrieval(where, MULTI, 0, 1).report("val").metrics == pytest.approx(single)


@pytest.mark.parametrize("choice", [{"pooling": "gem"}, {"layer": 1, "pooling": "max"}, {"pooling": "cls"}])
def test_every_view_can_be_had_at_every_scale(context, choice):
    data = QueryGallery(context(), {**MULTI, **choice}, "val")
    torch.testing.assert_close(data.queries.norm(dim=1), torch.ones(6))


def test_test_searches_what_val_was_made_of_too(context):
    where = context(galleries={"test": Gallery(splits=("train", "val"))})
    data = QueryGallery(where, PAPER, "test")
    gallery = data.gallery()
    assert len(gallery) == 18
    assert data.truth.positives(1).tolist() == [1, 4, 7, 10, 13, 16]
    [alone] = [where.store.get(where.backbone_info, where.dataset, "val").features]
    np.testing.assert_array_equal(gallery[12:].numpy(), np.asarray(alone))
    assert len(QueryGallery(where, PAPER, "val").gallery()) == 12


def test_distractors_lengthen_the_gallery_and_are_never_found(context):
    noise = Dataset(
        DatasetInfo(name="noise", source=FunctionSource("shapes")),
        ("any",),
        {"train": drawn("noise", 9, 5), "val": drawn("x", 0, 6), "test": drawn("y", 0, 7)},
        HygieneReport(),
    )
    with_noise = context(distractors=noise)
    data = QueryGallery(with_noise, PAPER, "val")
    assert len(data.gallery()) == 21
    assert max(data.truth.positives(query).max() for query in range(6)) < 12
    without = retrieval(context(), PAPER, 0, 1).report("val").per_query["map"]
    assert (retrieval(with_noise, PAPER, 0, 1).report("val").per_query["map"] <= without).all()


def test_listed_positives_are_asked_for_and_junk_is_passed_over(context):
    nothing = np.array([], dtype=int)
    positives = [np.array([2]), nothing, *[np.array([0])] * 4]
    truth = ListedTruth(positives, [np.delete(np.arange(12), 2), *[nothing] * 5])
    report = retrieval(context(galleries={"val": Gallery(truth=truth)}), PAPER, 0, 1).report("val")
    assert report.per_query["map"][0] == 1.0  # All others are junk to this query.
    assert np.isnan(report.per_query["map"][1])
    assert report.metrics["queries_without_positives"] == 1
    assert report.num_examples == 5


def test_leave_one_out_needs_no_other_split(context):
    where = context(galleries={"val": Gallery(splits=("val",), leave_one_out=True)})
    data = QueryGallery(where, PAPER, "val")
    assert data.self_indices.tolist() == list(range(6))
    assert data.truth.positives(0).tolist() == [3]
