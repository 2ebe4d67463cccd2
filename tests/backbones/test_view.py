"""Layers and poolings of real architectures: by hand, and equal to what timm itself would pool."""

import pytest
import torch

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.core.errors import CheckpointError

PLACES = torch.tensor([[[1.0, 4.0], [3.0, 0.0]]])
FAMILIES = ["mini_resnet.random", "mini_convnext.random", "mini_vit.random", "mini_swin.random"]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return load_backbone(find_backbone(request.param)).freeze()


@pytest.fixture
def pixels(backbone):
    size = backbone.preprocessing.input_size
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (FeatureSpec(0, "mean"), [2.0, 2.0]),
        (FeatureSpec(0, "max"), [3.0, 4.0]),
        (FeatureSpec(0, "gem", 1.0), [2.0, 2.0]),
        (FeatureSpec(0, "gem", 3.0), [14 ** (1 / 3), 32 ** (1 / 3)]),
        (FeatureSpec(1, "cls"), [7.0, 8.0]),
        (FeatureSpec(1, "pooled"), [7.0, 8.0]),
    ],
)
def test_poolings_by_hand(view, expected):
    torch.testing.assert_close(view.pool(PLACES, torch.tensor([[7.0, 8.0]])), torch.tensor([expected]))


@pytest.mark.parametrize("pooling", ["cls", "pooled"])
def test_without_a_class_token_places_are_averaged(pooling):
    assert FeatureSpec(1, pooling).pool(PLACES, None).tolist() == [[2.0, 2.0]]


def test_names_tell_views_apart_but_not_an_exponent_that_is_not_used():
    views = [
        FeatureSpec(),
        FeatureSpec(1),
        FeatureSpec(0, "mean"),
        FeatureSpec(0, "gem", 2.0),
        FeatureSpec(0, "gem", 3.0),
    ]
    assert len({view.name for view in views}) == len(views)
    assert FeatureSpec(0, "max", 2.0).name == FeatureSpec(0, "max", 5.0).name


def test_the_own_view_is_the_forward_pass(backbone, pixels):
    own, _ = backbone.describe(pixels, [FeatureSpec(), FeatureSpec(0, "max")])
    assert torch.equal(own, backbone(pixels))


def test_views_lie_in_their_order_and_do_not_depend_on_company(backbone, pixels):
    views = [FeatureSpec(layer, pooling) for layer in (0, 1) for pooling in ("mean", "gem", "max", "cls")]
    together = backbone.describe(pixels, views)
    for view, found in zip(views, together, strict=True):
        [alone] = backbone.describe(pixels, [view])
        assert torch.equal(alone, found)
        assert found.shape[0] == 3
        assert found.isfinite().all()
    mean, gem, largest = together[:3]
    assert (largest >= mean).all()
    assert (gem <= largest.clamp(min=1e-6) * 1.001).all()


def test_the_last_layers_mean_is_over_places_not_channels(backbone, pixels):
    [mean] = backbone.describe(pixels, [FeatureSpec(0, "mean")])
    assert mean.shape[1] == backbone.num_features


def test_a_layer_that_is_not_there_is_refused(backbone, pixels):
    with pytest.raises(CheckpointError, match="no layer 40 before the last"):
        backbone.describe(pixels, [FeatureSpec(40)])
