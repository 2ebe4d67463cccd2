"""What every backbone of the catalogue must obey: it builds, has the stated size, and freezes.

Every architecture is built on torch's `meta` device, which has shapes but no values. Tests that need values
run rows of up to SMALL million parameters: mini backbones with their weights, others randomly initialised.
"""

import functools
from dataclasses import replace

import pytest
import torch
from timm.data import resolve_model_data_config

from raybench.backbones.backbone import Backbone
from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbones import BACKBONES

torch.set_num_threads(1)
SMALL = 12.0
"""Largest size of a row that runs with values, millions of parameters."""
SPECS = [
    FeatureSpec(layer, pooling) for layer in (0, 1) for pooling in ("pooled", "mean", "gem", "max", "cls")
]
OF_TIMM = [name for name, info in BACKBONES.items() if info.weights == "timm"]
WITH_VALUES = [name for name, info in BACKBONES.items() if (info.params_m or 0.0) <= SMALL]


@functools.cache
def on_meta(name: str) -> Backbone:
    """The architecture of a row, without values."""
    with torch.device("meta"):
        return load_backbone(replace(BACKBONES[name], weights="random", checkpoint=None), device="meta")


@functools.lru_cache(maxsize=1)
def with_values(name: str) -> Backbone:
    """The row with its own weights if the package ships them, else randomly initialised."""
    info = BACKBONES[name]
    return load_backbone(replace(info, weights="random") if info.weights == "timm" else info)


def pixels_for(backbone: Backbone) -> torch.Tensor:
    side = backbone.preprocessing.input_size
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", BACKBONES)
def test_features_have_the_stated_width_and_earlier_layers_are_available(name):
    backbone = on_meta(name)
    side = backbone.preprocessing.input_size
    images = torch.zeros(2, 3, side, side, device="meta")
    for spec, features in zip(SPECS, backbone._extract(images, SPECS), strict=True):
        assert features.ndim == 2
        assert len(features) == 2
        if spec.is_pooled_output:
            assert features.shape[1] == backbone.num_features


@pytest.mark.parametrize("name", BACKBONES)
def test_the_number_of_parameters_is_the_stated_one(name):
    stated = BACKBONES[name].params_m
    assert on_meta(name).num_params / 1e6 == pytest.approx(stated, abs=0.005 if stated > 0.9 else 0.0005)


@pytest.mark.parametrize("name", OF_TIMM)
def test_preprocessing_is_that_of_timms_config(name):
    timms, ours = resolve_model_data_config(on_meta(name).model), preprocessing_of(BACKBONES[name])
    assert (3, ours.input_size, ours.input_size) == timms["input_size"]
    assert (ours.mean, ours.std) == (timms["mean"], timms["std"])
    assert (ours.crop_pct, ours.interpolation) == (timms["crop_pct"], timms["interpolation"])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_frozen_backbone_has_no_trainable_weight_and_no_module_in_training_mode(name):
    backbone = on_meta(name)
    with backbone.frozen():
        backbone.train()
        assert not any(p.requires_grad for p in backbone.parameters())
        assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize("name", WITH_VALUES)
def test_a_frozen_backbone_changes_no_value_and_passes_gradients_to_pixels(name):
    backbone = with_values(name)
    pixels = pixels_for(backbone).requires_grad_()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with backbone.frozen():
        backbone.train()
        features = backbone(pixels)
        features.square().sum().backward()
    assert features.shape == (2, backbone.num_features)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])
    assert pixels.grad.abs().sum() > 0
    assert all(p.grad is None for p in backbone.parameters())
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", [name for name, info in BACKBONES.items() if info.weights == "file"])
def test_shipped_weights_give_other_features_than_their_random_twin(name):
    info, backbone = BACKBONES[name], with_values(name)
    twin = replace(info, weights="random", checkpoint=None)
    assert checkpoint_digest(info) == backbone.digest != checkpoint_digest(twin)
    with torch.no_grad():
        assert not torch.allclose(backbone(pixels_for(backbone)), load_backbone(twin)(pixels_for(backbone)))
