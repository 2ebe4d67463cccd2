"""Settings of frozen features: numbers, key, manifest, refusals."""

import numpy as np
import pytest
import torch
from drawn import make_dataset

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import load_backbone
from raybench.catalog.feature_settings import FeatureSettings
from raybench.core.errors import DivergedError, ResourceError
from raybench.features.extraction import extract_features
from raybench.features.precision import forward_precision
from raybench.features.store import FeatureStore

torch.set_num_threads(1)
BFLOAT16 = FeatureSettings(precision="bfloat16")
HALVES = [(torch.bfloat16, "bfloat16", 2**-8), (torch.float16, "float16", 2**-11)]


@pytest.mark.parametrize(("dtype", "name", "rounding"), HALVES)
def test_products_are_rounded_to_the_precision_and_only_inside_the_block(dtype, name, rounding):
    torch.manual_seed(0)
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    with forward_precision(name, torch.device("cpu")):
        half = a @ b
    assert (half.dtype, (a @ b).dtype) == (dtype, torch.float32)
    exact = a.double() @ b.double()
    scale = a.abs().double() @ b.abs().double()
    error = float(((half.double() - exact).abs() / scale).max())
    assert 0 < error < 3 * rounding  # Each factor and the sum are rounded once.


def test_float32_is_the_backbones_own_output(info, dataset):
    backbone = load_backbone(info)
    (batch,) = extract_features(backbone, dataset.val, [FeatureSpec()], device="cpu", batch_size=7)
    (same,) = extract_features(
        backbone, dataset.val, [FeatureSpec()], device="cpu", batch_size=7, settings=FeatureSettings()
    )
    np.testing.assert_array_equal(batch[0], same[0])


def test_each_precision_has_its_own_entry_near_the_float32_features(tmp_path, info, dataset):
    exact = FeatureStore(tmp_path)
    half = FeatureStore(tmp_path, settings=BFLOAT16)
    features = [store.get(info, dataset, "val").features for store in (exact, half)]
    assert features[1].dtype == np.float32
    gap = np.abs(features[0] - features[1]).max() / np.abs(features[0]).max()
    assert 0 < gap < 0.05
    assert exact.key(info, dataset, "val") != half.key(info, dataset, "val")
    manifests = [entry.manifest["settings"] for entry in exact.entries()]
    assert sorted(map(str, manifests)) == ["{'precision': 'bfloat16'}", "{}"]


def test_a_fast_resize_reaches_the_features_and_their_key(tmp_path, info):
    photographs = make_dataset(side=150)
    exact = FeatureStore(tmp_path)
    fast = FeatureStore(tmp_path, settings=FeatureSettings(resize="fast"))
    one, other = (store.get(info, photographs, "val").features for store in (exact, fast))
    assert exact.key(info, photographs, "val") != fast.key(info, photographs, "val")
    assert 0 < np.abs(one - other).max() / np.abs(one).max() < 0.02


def test_half_precision_gives_the_same_bits_twice(tmp_path, info, dataset):
    one, other = (
        FeatureStore(tmp_path / name, settings=BFLOAT16).get(info, dataset, "val").features for name in "ab"
    )
    np.testing.assert_array_equal(one, other)


def test_features_beyond_float16_say_which_precision_to_take(info, dataset):
    backbone = load_backbone(info)
    settings = FeatureSettings(precision="float16")
    with torch.no_grad():
        backbone.model.layer4[0].bn1.weight.fill_(1e9)
    with pytest.raises(DivergedError, match="float16 ends at 65,504: take bfloat16 or float32"):
        list(
            extract_features(
                backbone, dataset.val, [FeatureSpec()], device="cpu", batch_size=7, settings=settings
            )
        )


def test_tf32_needs_a_gpu(tmp_path, info, dataset):
    store = FeatureStore(tmp_path, settings=FeatureSettings(precision="tf32"))
    with pytest.raises(ResourceError, match=r"precision` is tf32, which needs an NVIDIA GPU, but .* on cpu"):
        store.get(info, dataset, "val")
    assert store.entries() == []


def test_tf32_is_restored():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with forward_precision("tf32", torch.device("cuda")):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
