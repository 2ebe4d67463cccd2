"""Whitening: identity covariance on train, nothing but train read, dead directions dropped."""

import pytest
import torch
from sklearn.decomposition import PCA

from raybench.core.errors import EmptyInputError
from raybench.evaluation.retrieval.whitening import Whitening, normalised


def drawn(n=300, d=6):
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=random) @ torch.randn(d, d, generator=random) + 3.0


def test_whitened_train_has_identity_covariance():
    white = Whitening.fit(drawn()).apply(drawn())
    torch.testing.assert_close(torch.cov(white.T), torch.eye(6), atol=1e-4, rtol=0)


def test_products_equal_scikit_learns():
    train, other = drawn(), drawn()[:20] * 2
    ours = Whitening.fit(train).apply(other)
    theirs = torch.from_numpy(PCA(whiten=True).fit(train.double()).transform(other.double())).float()
    torch.testing.assert_close(ours @ ours.T, theirs @ theirs.T, atol=1e-3, rtol=1e-4)


def test_directions_without_variance_are_dropped():
    train = torch.cat([drawn(), torch.ones(300, 2)], dim=1)
    assert Whitening.fit(train).projection.shape == (8, 6)


def test_equal_rows_are_refused():
    with pytest.raises(EmptyInputError, match="all equal"):
        Whitening.fit(torch.ones(5, 3))


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match="'none', 'l2' or 'pca_whiten'"):
        normalised("zca", drawn(), drawn())
