"""The protocol: equal to a full sort, test locked, options that do what they say."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from raybench.catalog.retrieval import PRESETS, RETRIEVAL
from raybench.catalog.search_spaces import defaults
from raybench.core.errors import EmptyInputError, SplitLockedError
from raybench.data.ground_truth import Gallery
from raybench.evaluation.retrieval.protocol import retrieval
from raybench.metrics.retrieval import RETRIEVAL_METRICS

PAPER = PRESETS["paper"]


def brute_map(queries, gallery, labels, gallery_labels):
    """Mean average precision of L2-normalised features by sorting everything, ties by the smaller index."""
    q = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    x = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    # Rounded to float32, as in the search: else rounding in float64 decides between equal similarities.
    similarities = (q.astype(np.float64) @ x.astype(np.float64).T).astype(np.float32)
    order = np.argsort(-similarities, axis=1, kind="stable")
    hits = gallery_labels[order] == labels[:, None]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / hits.sum(1)).mean())


def test_the_papers_preset_is_trial_zero():
    assert dict(PAPER) == defaults(RETRIEVAL)


def test_map_on_digits_equals_a_full_sort(context_of, digits):
    [result] = retrieval(context_of(digits), PAPER, 0, 1).run_epochs()
    expected = brute_map(*(digits[s][0] for s in ("val", "train")), digits["val"][1], digits["train"][1])
    assert result.metrics["map"] == pytest.approx(expected, abs=1e-6)


def test_whitening_is_learnt_on_train_not_on_the_queries(context_of, digits):
    """PCA of train by scikit-learn, then a full sort. Queries are stretched, so that theirs differs."""
    stretch = np.linspace(0.2, 5.0, 64, dtype=np.float32)
    splits = {**digits, "val": (digits["val"][0] * stretch, digits["val"][1])}
    report = retrieval(context_of(splits), {**PAPER, "normalisation": "pca_whiten"}, 0, 1).report("val")
    train, val = (splits[name][0].astype(np.float64) for name in ("train", "val"))
    by_train, by_queries = (
        brute_map(*(whiten(learnt, rows) for rows in (val, train)), digits["val"][1], digits["train"][1])
        for learnt in (train, val)
    )
    assert report.metrics["map"] == pytest.approx(by_train, abs=1e-4)
    assert abs(by_train - by_queries) > 0.01


def whiten(learnt, rows):
    """Projections of `rows` on the principal axes of `learnt` with variance, divided by their deviations."""
    pca = PCA().fit(learnt)
    kept = pca.explained_variance_ > 1e-6 * pca.explained_variance_[0]
    return (pca.transform(rows) / np.sqrt(np.maximum(pca.explained_variance_, 1e-12)))[:, kept]


def test_every_query_keeps_its_values(context_of, digits):
    report = retrieval(context_of(digits, is_unlocked=True), PAPER, 0, 1).report("test")
    assert report.num_examples == len(digits["test"][1])
    assert set(report.per_query) == set(RETRIEVAL_METRICS)
    for name, values in report.per_query.items():
        assert report.metrics[name] == pytest.approx(values.mean())


def test_test_is_locked_while_searching(context_of, digits):
    with pytest.raises(SplitLockedError):
        retrieval(context_of(digits), PAPER, 0, 1).report("test")


def test_leave_one_out_finds_others_only(context_of, digits):
    few = {name: (features[:60], labels[:60]) for name, (features, labels) in digits.items()}
    rest = Gallery(splits=("val",), leave_one_out=True)
    report = retrieval(context_of(few, gallery=rest), PAPER, 0, 1).report("val")
    assert report.metrics["mrr"] < 1.0  # Finding oneself would make it 1.


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_on_unit_vectors_all_distances_rank_alike(context_of, digits, distance):
    dot = retrieval(context_of(digits), PAPER, 0, 1).report("val").metrics
    other = retrieval(context_of(digits), {**PAPER, "distance": distance}, 0, 1).report("val").metrics
    assert other["map"] == pytest.approx(dot["map"], abs=1e-3)  # Up to swaps of near ties.


def test_query_expansion_gathers_a_clean_gallery(context_of, digits):
    before = retrieval(context_of(digits), PAPER, 0, 1).report("val").metrics["map"]
    after = retrieval(context_of(digits), {**PAPER, "query_expansion": 10}, 0, 1).report("val").metrics["map"]
    assert after > before + 0.02


def test_queries_of_unknown_classes_are_counted(context_of, digits):
    features, labels = digits["train"]
    splits = {**digits, "train": (features[labels != 3], labels[labels != 3])}
    report = retrieval(context_of(splits), PAPER, 0, 1).report("val")
    num_threes = int((digits["val"][1] == 3).sum())
    assert report.metrics["queries_without_positives"] == num_threes
    assert report.num_examples == len(digits["val"][1]) - num_threes
    assert int(np.isnan(report.per_query["map"]).sum()) == num_threes


def test_a_gallery_without_any_positive_is_refused(context_of, digits):
    features, labels = digits["train"]
    splits = {"train": (features[labels == 0], labels[labels == 0])}
    splits["val"] = (digits["val"][0], np.full(len(digits["val"][1]), 9))
    with pytest.raises(EmptyInputError, match="none of"):
        list(retrieval(context_of(splits), PAPER, 0, 1).run_epochs())
