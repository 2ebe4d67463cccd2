"""Layers and poolings of real architectures, against values by hand and timm's own pooling."""

import pytest
import torch

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.core.errors import CheckpointError

TOKENS = torch.tensor([[[1.0, 4.0], [3.0, 0.0]]])
FAMILIES = ["mini_resnet.random", "mini_convnext.random", "mini_vit.random", "mini_swin.random"]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return load_backbone(find_backbone(request.param)).freeze()


@pytest.fixture
def pixels(backbone):
    size = backbone.preprocessing.input_size
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (FeatureSpec(0, "mean"), [2.0, 2.0]),
        (FeatureSpec(0, "max"), [3.0, 4.0]),
        (FeatureSpec(0, "gem", 1.0), [2.0, 2.0]),
        (FeatureSpec(0, "gem", 3.0), [14 ** (1 / 3), 32 ** (1 / 3)]),
        (FeatureSpec(1, "cls"), [7.0, 8.0]),
        (FeatureSpec(1, "pooled"), [7.0, 8.0]),
    ],
)
def test_poolings_by_hand(spec, expected):
    torch.testing.assert_close(spec.pool(TOKENS, torch.tensor([[7.0, 8.0]])), torch.tensor([expected]))


@pytest.mark.parametrize("pooling", ["cls", "pooled"])
def test_without_a_class_token_tokens_are_averaged(pooling):
    assert FeatureSpec(1, pooling).pool(TOKENS, None).tolist() == [[2.0, 2.0]]


def test_names_distinguish_specs_but_ignore_an_unused_exponent():
    specs = [
        FeatureSpec(),
        FeatureSpec(1),
        FeatureSpec(0, "mean"),
        FeatureSpec(0, "gem", 2.0),
        FeatureSpec(0, "gem", 3.0),
    ]
    assert len({spec.name for spec in specs}) == len(specs)
    assert FeatureSpec(0, "max", 2.0).name == FeatureSpec(0, "max", 5.0).name


def test_the_default_spec_is_the_forward_pass(backbone, pixels):
    pooled, _ = backbone.extract(pixels, [FeatureSpec(), FeatureSpec(0, "max")])
    assert torch.equal(pooled, backbone(pixels))


def test_specs_keep_their_order_and_do_not_depend_on_each_other(backbone, pixels):
    specs = [FeatureSpec(layer, pooling) for layer in (0, 1) for pooling in ("mean", "gem", "max", "cls")]
    together = backbone.extract(pixels, specs)
    for spec, features in zip(specs, together, strict=True):
        [alone] = backbone.extract(pixels, [spec])
        assert torch.equal(alone, features)
        assert features.shape[0] == 3
        assert features.isfinite().all()
    mean, gem, largest = together[:3]
    assert (largest >= mean).all()
    assert (gem <= largest.clamp(min=1e-6) * 1.001).all()


def test_the_mean_of_the_last_layer_is_over_tokens_not_channels(backbone, pixels):
    [mean] = backbone.extract(pixels, [FeatureSpec(0, "mean")])
    assert mean.shape[1] == backbone.num_features


def test_a_layer_that_does_not_exist_is_refused(backbone, pixels):
    with pytest.raises(CheckpointError, match="no layer 40 before the last"):
        backbone.extract(pixels, [FeatureSpec(40)])
