import numpy as np
import pytest
import torch

from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import load_backbone
from raybench.core.errors import DivergedError
from raybench.features.extraction import extract_features
from tests.pixels import to_pixels

torch.set_num_threads(1)


def pooled(backbone, examples, batch_size):
    for (features,) in extract_features(
        backbone, examples, [FeatureSpec()], device="cpu", batch_size=batch_size
    ):
        yield features


def test_features_are_those_of_the_frozen_backbone_in_order(info, dataset):
    backbone = load_backbone(info)
    val = dataset.val
    stacked = np.concatenate(list(pooled(backbone, val, batch_size=3)))
    pixels = torch.stack([to_pixels(val.image(i), backbone.preprocessing) for i in range(len(val))])
    with torch.no_grad():
        expected = torch.cat([backbone(chunk) for chunk in pixels.split(3)])
    np.testing.assert_array_equal(stacked, expected.numpy())


def test_extraction_restores_a_backbone_in_training_mode(info, dataset):
    backbone = load_backbone(info).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    list(pooled(backbone, dataset.val, batch_size=4))
    assert backbone.training
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_features_that_are_not_finite_name_backbone_and_example(info, dataset):
    backbone = load_backbone(info)
    with torch.no_grad():
        backbone.model.layer4[0].bn1.weight.fill_(torch.inf)
    with pytest.raises(DivergedError, match=r"features that are not finite on example 'val0' of 7"):
        list(pooled(backbone, dataset.val, batch_size=4))
