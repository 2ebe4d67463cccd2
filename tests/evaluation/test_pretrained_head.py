"""The checkpoint's own head, against timm's forward pass."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from raybench.backbones.imagenet import imagenet_wnids
from raybench.backbones.loading import load_backbone
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError
from raybench.evaluation.pretrained_head import head_classes, own_head


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_features_and_own_head_give_the_models_own_logits(tmp_path, name):
    checkpoint = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(name).state_dict(), checkpoint)
    info = BackboneInfo(name=name, timm=name, weights="file", checkpoint=str(checkpoint))
    weights = own_head(SimpleNamespace(backbone_info=info, device="cpu"))
    backbone = load_backbone(info, keep_head=True).freeze()
    pixels = torch.rand(4, 3, *[backbone.preprocessing.input_size] * 2)
    composed = torch.nn.functional.pad(backbone(pixels), (0, 1), value=1.0) @ weights
    torch.testing.assert_close(composed, backbone.model(backbone.normalise(pixels)), rtol=1e-4, atol=1e-5)


def test_as_many_outputs_as_classes_are_those_classes():
    assert head_classes(["a", "b"], 2) == ("a", "b")


def test_folders_named_by_wordnet_ids_find_their_outputs():
    assert head_classes(["n01440764", "n02102040"], 1000) == imagenet_wnids()
    assert imagenet_wnids()[217] == "n02102040"


def test_other_classes_are_refused():
    with pytest.raises(CheckpointError, match=r"1000 outputs, the dataset 2 classes \(cat, dog"):
        head_classes(["cat", "dog"], 1000)


def test_wordnet_ids_are_sorted():
    assert np.array_equal(np.sort(imagenet_wnids()), imagenet_wnids())
