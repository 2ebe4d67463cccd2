from dataclasses import replace

import pytest
import timm
import torch

from raybench.backbones import loading
from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.backbones.preprocessing import preprocessing_of
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import find_backbone
from raybench.core.errors import CheckpointError, UnknownNameError

PIXELS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(
    memory_format=torch.channels_last
)


def twin(info, seed=0):
    return replace(info, weights="random", checkpoint=None, init_seed=seed)


def test_a_random_twin_is_the_same_every_time(info):
    torch.manual_seed(1)
    first = load_backbone(twin(info))
    torch.manual_seed(2)
    second = load_backbone(twin(info))
    assert torch.equal(first(PIXELS), second(PIXELS))
    assert first.digest == second.digest


def test_another_seed_is_another_twin(info):
    assert checkpoint_digest(twin(info, 1)) != checkpoint_digest(twin(info))
    assert not torch.equal(load_backbone(twin(info, 1))(PIXELS), load_backbone(twin(info))(PIXELS))


def test_a_twin_does_not_change_torchs_random_state(info):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_backbone(twin(info))
    assert torch.equal(torch.rand(3), expected)


def test_keeping_the_head_of_a_random_twin_is_refused(info):
    with pytest.raises(CheckpointError, match="head that was never trained is not kept"):
        load_backbone(twin(info), keep_head=True)


def test_an_architecture_without_weights_is_not_passed_off_as_pretrained():
    """10 of the paper's 29 released fine-tuning configs said `pretrained: false`."""
    with pytest.raises(CheckpointError, match=r"no pretrained weights for 'botnet50ts_256'.*random"):
        load_backbone(BackboneInfo.of_timm("botnet50ts_256"))


@pytest.mark.parametrize("key", ["pretrained", "checkpoint_path", "pretrained_cfg"])
def test_kwargs_cannot_switch_pretraining_off(info, key):
    with pytest.raises(CheckpointError, match=f"`kwargs` may not hold '{key}'"):
        load_backbone(replace(info, kwargs={**info.kwargs, key: False}))


def test_an_unreachable_hub_is_reported_in_one_sentence(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("couldn't connect to the hub\nand a long story")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        CheckpointError, match=r"'resnet18\.a1_in1k' cannot be had from the hub \(OSError: couldn't"
    ):
        load_backbone(BackboneInfo.of_timm("resnet18.a1_in1k"))


def hub_with(monkeypatch, state_dict):
    """Make timm load `state_dict` instead of asking the hub, for every model."""
    create = timm.create_model

    def from_memory(name, pretrained, **kwargs):
        overlay = {"state_dict": state_dict, "custom_load": False} if pretrained else None
        return create(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **kwargs)

    monkeypatch.setattr(timm, "create_model", from_memory)
    monkeypatch.setattr(loading, "_TENSOR_DIGESTS", {})


def test_timms_weights_are_loaded_and_their_head_is_dropped(monkeypatch):
    torch.manual_seed(3)
    published = timm.create_model("resnet10t", num_classes=1000).eval().to(memory_format=torch.channels_last)
    hub_with(monkeypatch, published.state_dict())
    info = BackboneInfo(
        name="r", timm="resnet10t.c3_in1k", preprocessing={"mean": (0.0,) * 3, "std": (1.0,) * 3}
    )
    backbone = load_backbone(info)
    expected = published.forward_head(published.forward_features(PIXELS), pre_logits=True)
    assert torch.equal(backbone(PIXELS), expected)
    assert not [key for key in backbone.state_dict() if "fc." in key]
    with_head = load_backbone(info, keep_head=True)
    assert torch.equal(with_head.head(with_head(PIXELS)), published(PIXELS))


def test_timms_weights_with_a_key_missing_are_refused(monkeypatch):
    """timm itself loads non-strictly when the number of classes differs, and would leave random weights."""
    state = timm.create_model("resnet10t", num_classes=1000).state_dict()
    del state["layer1.0.conv1.weight"]
    hub_with(monkeypatch, state)
    with pytest.raises(CheckpointError, match=r"resnet10t"):
        load_backbone(BackboneInfo.of_timm("resnet10t.c3_in1k"))


def test_timms_digest_is_that_of_the_tensors(monkeypatch):
    info = BackboneInfo.of_timm("resnet10t.c3_in1k")
    digests = set()
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hub_with(monkeypatch, timm.create_model("resnet10t", pretrained=False, num_classes=1000).state_dict())
        digests.add(checkpoint_digest(info))
        assert checkpoint_digest(info) == load_backbone(info).digest
        monkeypatch.undo()
    assert len(digests) == 2


def test_kwargs_that_timm_does_not_accept_are_named(info):
    with pytest.raises(CheckpointError, match=r"timm cannot build 'resnet10t' with .*depht"):
        load_backbone(replace(info, kwargs={"depht": 3}))


def test_a_fixed_input_size_must_match_the_preprocessing():
    vit = replace(find_backbone("mini_vit.random"), preprocessing={"input_size": 64}, input_size=None)
    with pytest.raises(
        CheckpointError, match=r"built for 32-pixel inputs but its preprocessing gives 64; set"
    ):
        load_backbone(vit)


def test_drop_path_reaches_architectures_that_have_it_and_no_others():
    dropped = load_backbone(find_backbone("mini_vit.random"), drop_path=0.3)
    assert [m.drop_prob for m in dropped.modules() if type(m).__name__ == "DropPath"][-1] == pytest.approx(
        0.3
    )
    vgg = BackboneInfo(name="vgg", timm="vgg11", weights="random", preprocessing={"input_size": 32})
    assert preprocessing_of(vgg).input_size == 32
    lenient = replace(vgg, timm="mobilenetv2_035")
    load_backbone(lenient, drop_path=0.1)


@pytest.mark.parametrize("name", ["mini_resnet", "mini_convnext", "mini_vit", "mini_swin"])
def test_features_of_every_mini_architecture_have_the_stated_width(name):
    backbone = load_backbone(find_backbone(f"{name}.random"))
    assert backbone(PIXELS).shape == (2, backbone.num_features)


def test_an_unknown_architecture_gets_a_suggestion(info):
    with pytest.raises(UnknownNameError, match="timm has no model 'resnet10tt'; did you mean 'resnet10t'"):
        load_backbone(replace(info, timm="resnet10tt"))
