"""Backbones that a row's entry point builds, with networks that the tests add to the catalogue."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from raybench.backbones import from_entry_point
from raybench.backbones.feature_spec import FeatureSpec
from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

torch.set_num_threads(1)
PIXELS = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ADDRESS = f"{__name__}:build"
INFO = BackboneInfo(
    name="net.v1",
    entry_point=ADDRESS,
    kwargs={"width": 5},
    weights="entry_point",
    preprocessing={
        "input_size": 8,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.25),
    },
)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images):
        return self.norm(self.conv(images)).mean(dim=(2, 3))


def build(*, pretrained: bool, width: int) -> nn.Module:
    net = Net(width)
    if pretrained:
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.5)
    return net


@pytest.fixture(autouse=True)
def catalogue(monkeypatch):
    monkeypatch.setattr(from_entry_point, "BACKBONES", {INFO.name: INFO})
    monkeypatch.setattr(from_entry_point, "load_entry_point", lambda address: {ADDRESS: build}[address])


def test_features_are_the_networks_on_normalised_images():
    backbone = load_backbone(INFO)
    mean, std = (torch.tensor(INFO.preprocessing[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(
        backbone(PIXELS), build(pretrained=True, width=5).eval()((PIXELS - mean) / std)
    )
    assert backbone(PIXELS).shape == (2, backbone.num_features) == (2, 5)
    assert backbone.num_params == 3 * 5 * 9 + 5 + 2 * 5


def test_a_frozen_one_moves_neither_weights_nor_batch_statistics():
    backbone = load_backbone(INFO).freeze()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()(PIXELS)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert not any(p.requires_grad for p in backbone.parameters())


def test_a_random_twin_is_drawn_from_its_seed_and_known_by_its_tensors():
    twin = replace(INFO, weights="random", init_seed=3)
    assert torch.equal(load_backbone(twin)(PIXELS), load_backbone(twin)(PIXELS))
    digests = {checkpoint_digest(info) for info in (INFO, twin, replace(twin, init_seed=4))}
    assert len(digests) == 3
    assert checkpoint_digest(twin) == load_backbone(twin).digest


def test_a_file_is_loaded_strictly(tmp_path):
    weights = {key: value + 1 for key, value in build(pretrained=True, width=5).state_dict().items()}
    save_file(weights, tmp_path / "net.safetensors")
    info = replace(INFO, weights="file", checkpoint=str(tmp_path / "net.safetensors"))
    assert torch.equal(load_backbone(info).model.conv.weight, weights["conv.weight"])
    with pytest.raises(CheckpointError, match="do not fit its architecture"):
        load_backbone(replace(info, kwargs={"width": 6}))


def test_the_pooled_output_is_its_only_feature():
    backbone = load_backbone(INFO)
    assert torch.equal(backbone.extract(PIXELS, [FeatureSpec()])[0], backbone(PIXELS))
    with pytest.raises(CheckpointError, match=r"'net\.v1' gives its pooled output only, not 'layer-1/mean'"):
        backbone.extract(PIXELS, [FeatureSpec(1, "mean")])


def test_the_preprocessing_must_be_complete():
    with pytest.raises(
        CheckpointError, match="must be complete; it lacks crop_pct, input_size, interpolation"
    ):
        preprocessing_of(replace(INFO, preprocessing={"mean": (0.5,) * 3, "std": (0.5,) * 3}))
    assert (
        preprocessing_of(replace(INFO, input_size=16, preprocessing=dict(INFO.preprocessing))).input_size == 8
    )


def test_a_stored_spec_cannot_call_any_function():
    with pytest.raises(CheckpointError, match="built by 'os:system', which no installed backbone row names"):
        load_backbone(replace(INFO, entry_point="os:system", kwargs={"command": "true"}))


def test_an_entry_point_that_builds_no_network_is_refused(monkeypatch):
    monkeypatch.setattr(
        from_entry_point, "load_entry_point", lambda address: lambda **kwargs: nn.Linear(2, 2)
    )
    with pytest.raises(CheckpointError, match="with an integer `num_features`, got a Linear"):
        load_backbone(INFO)
