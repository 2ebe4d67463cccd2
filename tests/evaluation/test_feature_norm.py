import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler, normalize

from raybench.core.errors import EmptyInputError
from raybench.evaluation.feature_norm import FeatureNorm, resident, with_ones


def features(num=50, num_features=6):
    return np.random.default_rng(0).normal(3, 5, size=(num, num_features)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("standardize", lambda x: StandardScaler().fit_transform(x)),
        ("l2", normalize),
        ("none", lambda x: x),
    ],
)
def test_agrees_with_scikit_learn(kind, reference):
    found = FeatureNorm.fit(kind, features()).apply(torch.tensor(features()))
    np.testing.assert_allclose(found.numpy(), reference(features()), atol=2e-6)


def test_statistics_come_from_train_and_not_from_what_they_are_applied_to():
    norm = FeatureNorm.fit("standardize", features())
    shifted = norm.apply(torch.tensor(features() + 10))
    np.testing.assert_allclose(shifted.numpy().mean(axis=0), 10 * norm.scale, rtol=1e-4)


def test_a_constant_feature_stays_finite_and_silent():
    constant = features()
    constant[:, 2] = 1e4 + 1 / 3
    norm = FeatureNorm.fit("standardize", constant)
    assert float(norm.apply(torch.tensor(constant))[:, 2].abs().max()) < 0.01


def test_a_feature_vector_of_zeros_survives_l2():
    norm = FeatureNorm.fit("l2", features())
    assert norm.apply(torch.zeros(1, 6)).tolist() == [[0.0] * 6]


def test_a_memory_map_is_viewed_and_not_copied(tmp_path):
    np.save(tmp_path / "f.npy", features())
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert resident(mapped, torch.device("cpu")).data_ptr() == mapped.ctypes.data


def test_the_last_column_of_ones_carries_the_bias():
    assert with_ones(torch.zeros(2, 3)).tolist() == [[0.0, 0.0, 0.0, 1.0]] * 2


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown feature_norm 'batch'; use 'none', 'standardize' or 'l2'"):
        FeatureNorm.fit("batch", features())


def test_no_features_are_refused():
    with pytest.raises(EmptyInputError, match=r"shape \[0, 6\]"):
        FeatureNorm.fit("none", features(0))
