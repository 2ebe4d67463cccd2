import pytest
import timm
from timm.data import resolve_model_data_config

from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError


def row(timm_name="resnet18.a1_in1k", **fields):
    return BackboneInfo(name="row", timm=timm_name, **fields)


@pytest.mark.parametrize(
    "name",
    ["resnet18.a1_in1k", "vit_tiny_patch16_224.augreg_in21k", "deit_tiny_patch16_224.fb_in1k", "resnet10t"],
)
def test_values_equal_timms_for_the_built_model(name):
    timms = resolve_model_data_config(timm.create_model(name, pretrained=False))
    ours = preprocessing_of(row(name))
    assert (3, ours.input_size, ours.input_size) == timms["input_size"]
    assert (ours.mean, ours.std) == (timms["mean"], timms["std"])
    assert (ours.crop_pct, ours.interpolation) == (timms["crop_pct"], timms["interpolation"])


def test_each_backbone_gets_the_normalisation_it_was_trained_with():
    """One normalisation for all backbones was a defect of the paper's released linear_probe.py."""
    clip, augreg, resnet = (
        preprocessing_of(row(name))
        for name in (
            "vit_base_patch16_clip_224.openai",
            "vit_base_patch16_224.augreg_in21k",
            "resnet50.a1_in1k",
        )
    )
    assert len({clip.mean, augreg.mean, resnet.mean}) == 3
    assert augreg.mean == (0.5, 0.5, 0.5)


def test_overrides_replace_single_values_of_timms_config():
    ours = preprocessing_of(row(preprocessing={"mean": [0.1, 0.2, 0.3], "crop_pct": 1}))
    assert (ours.mean, ours.crop_pct) == ((0.1, 0.2, 0.3), 1.0)
    assert ours.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"preprocessing": {"input_size": 64}, "input_size": 96}, 64),
        ({"preprocessing": {"input_size": (3, 64, 64)}}, 64),
        ({"input_size": 96}, 96),
        ({"kwargs": {"img_size": 48}}, 48),
        ({}, 224),
    ],
)
def test_the_input_size_is_the_most_specific_one_given(fields, expected):
    assert preprocessing_of(row(**fields)).input_size == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"mean_": 1}, "unknown preprocessing key 'mean_'; did you mean 'mean'"),
        ({"crop_pct": 1e-6}, r"crop_pct must lie in \[0.25, 2.0\], got 1e-06"),
        ({"crop_mode": "centre"}, "crop_mode must be one of center, squash, border, got 'centre'"),
        (
            {"mean": (123.7, 116.3, 103.5)},
            "mean must be three numbers.*0…255 are divided by 255",
        ),
        ({"mean": (float("nan"), 0.5, 0.5)}, "mean must be three numbers"),
        ({"interpolation": "cubic"}, "interpolation must be one of nearest, .* got 'cubic'"),
        ({"mean": (0.5,)}, r"mean must be three numbers in \[0, 1\], .* got \[0.5\]"),
        ({"std": (0.5, 0.0, 0.5)}, r"std must be three numbers in \[0.001, 1\]"),
        (
            {"input_size": (3, 224, 160)},
            "takes inputs of 224×160 pixels; raybench supports square inputs only",
        ),
    ],
)
def test_impossible_values_are_refused(override, message):
    with pytest.raises(CheckpointError, match=message):
        preprocessing_of(row(preprocessing=override))


@pytest.mark.parametrize(
    ("name", "crop_mode"),
    [
        ("convnext_small.fb_in22k_ft_in1k_384", "squash"),
        ("resnet50.a1_in1k", "center"),
        ("vit_base_patch16_clip_224.openai", "center"),
    ],
)
def test_the_crop_mode_is_timms(name, crop_mode):
    assert preprocessing_of(BackboneInfo.of_timm(name)).crop_mode == crop_mode
