"""Family and size, read off the modules: equal to the catalogue's, and sensible beyond it."""

import pytest
import timm
import torch

from raybench.backbones.architecture import architecture_of_timm, family_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import BACKBONES
from raybench.core.errors import CheckpointError

ROWS = [name for name, info in BACKBONES.items() if not info.entry_point]


@pytest.mark.parametrize("name", ROWS)
def test_family_and_size_of_every_row_are_those_of_the_catalogue(name):
    row = BACKBONES[name]
    architecture = architecture_of_timm(row)
    assert architecture.family == row.family
    assert architecture.params_m == pytest.approx(row.params_m, rel=0.02, abs=0.01)


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("regnetx_002", "cnn"),
        ("mobilenetv3_small_050", "cnn"),  # Its squeeze-and-excitation is no attention between positions.
        ("resnest14d", "cnn"),
        ("convmixer_768_32", "cnn"),
        ("xcit_nano_12_p16_224", "transformer"),
        ("hiera_tiny_224", "transformer"),
        ("pvt_v2_b0", "transformer"),  # With depthwise convolutions inside its blocks.
        ("deit_tiny_distilled_patch16_224", "transformer"),
        ("coatnet_nano_rw_224", "hybrid"),
        ("mobilevitv2_050", "hybrid"),
        ("shvit_s1", "hybrid"),
        ("caformer_s18", "hybrid"),
        ("botnet26t_256", "hybrid"),
        ("mixer_s32_224", "unknown"),  # Neither attention nor convolutions.
    ],
)
def test_families_of_other_architectures(architecture, family):
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=0)
    assert family_of(model) == family


def test_attention_that_only_pools_the_output_leaves_a_cnn_a_cnn():
    with torch.device("meta"):
        model = timm.create_model("resnet50_clip", num_classes=0)
    assert family_of(model) == "cnn"


def test_changed_arguments_change_the_size():
    small = BackboneInfo(name="mine", timm="resnet10t", kwargs={"channels": [8, 8, 16, 16]}, weights="file")
    wide = BackboneInfo(
        name="mine", timm="resnet10t", kwargs={"channels": [64, 64, 128, 128]}, weights="file"
    )
    assert architecture_of_timm(small).params_m < architecture_of_timm(wide).params_m
    assert architecture_of_timm(small).family == "cnn"


def test_arguments_that_timm_refuses_are_bad_input():
    with pytest.raises(CheckpointError, match="timm cannot build 'resnet10t' with"):
        architecture_of_timm(BackboneInfo(name="mine", timm="resnet10t", kwargs={"depht": 3}))
