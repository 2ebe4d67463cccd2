"""Backbones at other input sizes, for each mini family; architectures of a fixed size are refused."""

import pytest
import torch

from raybench.backbones.loading import load_backbone
from raybench.backbones.scales import load_at_scale, side_at, stride_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone
from raybench.core.errors import CheckpointError

FAMILIES = ["mini_resnet.random", "mini_convnext.random", "mini_vit.random", "mini_swin.random"]
MIXER = BackboneInfo(name="a_mixer", timm="mixer_s32_224", weights="random")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("scale", [2**-0.5, 2**0.5])
def test_every_family_takes_larger_and_smaller_images(name, scale):
    backbone = load_at_scale(find_backbone(name), scale).freeze()
    side = backbone.preprocessing.input_size
    assert side % stride_of(backbone.model) == 0
    assert (side > 32) == (scale > 1)
    assert backbone(torch.rand(2, 3, side, side)).shape == (2, backbone.num_features)


@pytest.mark.parametrize("name", FAMILIES)
def test_at_scale_one_features_are_unchanged(name):
    info = find_backbone(name)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_at_scale(info, 1.0).freeze()(pixels), load_backbone(info).freeze()(pixels))


def test_a_plain_image_has_similar_features_at_a_larger_scale():
    # Away from the border, convolutions see the same pixels at any size.
    features = []
    for scale in (1.0, 4.0):
        backbone = load_at_scale(find_backbone("mini_convnext.random"), scale).freeze()
        side = backbone.preprocessing.input_size
        features.append(backbone(torch.full((1, 3, side, side), 0.3)))
    assert torch.nn.functional.cosine_similarity(*features).item() > 0.9


def test_sides_are_multiples_of_the_stride_and_at_least_one():
    assert [side_at(224, scale, 16) for scale in (0.5, 0.7071, 1.4142)] == [112, 160, 320]
    assert side_at(32, 0.1, 16) == 16


def test_an_architecture_of_a_fixed_size_is_refused():
    with pytest.raises(CheckpointError, match=r"'a_mixer' takes images of 224 pixels only, not of 320 "):
        load_at_scale(MIXER, 2**0.5)
