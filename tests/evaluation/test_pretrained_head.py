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
from raybench.evaluation.pretrained_head import checkpoint_head, match_outputs


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_features_and_checkpoint_head_give_the_models_own_logits(tmp_path, name):
    checkpoint = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(name).state_dict(), checkpoint)
    info = BackboneInfo(name=name, timm=name, weights="file", checkpoint=str(checkpoint))
    weights = checkpoint_head(SimpleNamespace(backbone_info=info, device="cpu"))
    backbone = load_backbone(info, keep_head=True).freeze()
    pixels = torch.rand(4, 3, *[backbone.preprocessing.input_size] * 2)
    composed = torch.nn.functional.pad(backbone(pixels), (0, 1), value=1.0) @ weights
    torch.testing.assert_close(composed, backbone.model(backbone.normalise(pixels)), rtol=1e-4, atol=1e-5)


def test_as_many_outputs_as_classes_are_those_classes():
    outputs = match_outputs(["a", "b"], 2)
    assert outputs.names == ("a", "b")
    assert outputs.of_class.tolist() == [0, 1]


def test_folders_named_by_wordnet_ids_find_their_outputs():
    outputs = match_outputs(["n02102040", "n01440764"], 1000)
    assert outputs.names == imagenet_wnids()
    assert outputs.of_class.tolist() == [217, 0]


@pytest.mark.parametrize("pattern", ["{}", "{:03d}", "{:04d}"])
def test_folders_that_are_numbered_from_zero_are_the_outputs_of_that_index(pattern):
    classes = sorted(pattern.format(number) for number in range(12))
    outputs = match_outputs(classes, 12)
    assert outputs.of_class.tolist() == [int(name) for name in classes]
    assert [outputs.names[index] for index in outputs.of_class] == classes


@pytest.mark.parametrize("classes", [["1", "10", "2"], ["1", "10", "2", "cat"], ["0", "100", "20"]])
def test_numbers_that_leave_two_orders_open_are_refused(classes):
    with pytest.raises(CheckpointError, match=rf"are numbers, but not 0…{len(classes) - 1}, so the order"):
        match_outputs(classes, len(classes))


def test_numbers_whose_text_and_value_have_one_order_are_taken():
    assert match_outputs(["1", "2", "3"], 3).of_class.tolist() == [0, 1, 2]


def test_classes_of_one_name_stay_apart():
    outputs = match_outputs(["crane", "maillot", "crane", "maillot"], 4)
    assert outputs.of_class.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [999, 1001])
def test_other_numbers_of_classes_are_refused(count):
    with pytest.raises(CheckpointError, match=f"1000 outputs, the dataset {count} classes"):
        match_outputs([f"class {number}" for number in range(count)], 1000)


def test_other_classes_are_refused():
    with pytest.raises(CheckpointError, match=r"1000 outputs, the dataset 2 classes \(cat, dog"):
        match_outputs(["cat", "dog"], 1000)


def test_wordnet_ids_are_sorted():
    assert np.array_equal(np.sort(imagenet_wnids()), imagenet_wnids())
