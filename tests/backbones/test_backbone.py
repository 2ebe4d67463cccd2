from dataclasses import replace

import pytest
import torch

from raybench.backbones.loading import load_backbone

torch.set_num_threads(1)
PIXELS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(
    memory_format=torch.channels_last
)


def batch_norm_state(backbone):
    return {k: v.clone() for k, v in backbone.state_dict().items() if "running_" in k or "num_batches" in k}


def test_features_are_the_input_of_timms_classifier(info, trained):
    backbone = load_backbone(info)
    mean, std = (torch.tensor(info.preprocessing[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = trained.forward_head(trained.forward_features((PIXELS - mean) / std), pre_logits=True)
    torch.testing.assert_close(backbone(PIXELS), expected, rtol=0, atol=0)
    assert backbone(PIXELS).shape == (4, backbone.num_features)


def test_each_backbone_normalises_with_its_own_values(info):
    """The paper's released linear_probe.py normalised for CLIP and AugReg ViTs with ImageNet's values."""
    one = load_backbone(info)
    other = load_backbone(
        replace(info, preprocessing={"input_size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3})
    )
    assert not torch.allclose(one(PIXELS), other(PIXELS))
    assert one.preprocessing.mean == (0.5, 0.4, 0.3)


def test_training_a_head_on_a_frozen_backbone_does_not_move_batch_statistics(info):
    """The paper's released linear_probe.py called model.train() on the frozen network, so they drifted."""
    backbone = load_backbone(info).freeze()
    before, features = batch_norm_state(backbone), backbone(PIXELS)
    network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.num_features, 3))
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad], lr=1.0, weight_decay=0.1
    )
    for _ in range(3):
        network.train()
        loss = network(PIXELS).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = batch_norm_state(backbone)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(backbone(PIXELS), features)


def test_batch_statistics_move_if_the_backbone_is_not_frozen(info):
    backbone = load_backbone(info)
    before = batch_norm_state(backbone)
    backbone.train()(PIXELS)
    assert any(not torch.equal(value, before[key]) for key, value in batch_norm_state(backbone).items())


def test_leaving_the_frozen_block_restores_modes_and_gradients(info):
    backbone = load_backbone(info).train()
    backbone.model.bn1.eval()
    with backbone.frozen():
        assert not backbone.train().training
        assert not any(p.requires_grad for p in backbone.parameters())
    assert backbone.training
    assert not backbone.model.bn1.training
    assert all(p.requires_grad for p in backbone.parameters())


def test_a_frozen_backbone_passes_gradients_to_pixels(info):
    pixels = PIXELS.clone().requires_grad_()
    load_backbone(info).freeze()(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "bad", [PIXELS * 255, PIXELS - 0.5, PIXELS * torch.nan], ids=["bytes", "normalised", "nan"]
)
def test_pixels_outside_the_unit_interval_are_refused(info, bad):
    with pytest.raises(ValueError, match=r"pixels must lie in \[0, 1\], got .*; pass unnormalised images"):
        load_backbone(info)(bad)


def test_parameters_are_counted_without_the_head(info, trained):
    body = sum(p.numel() for name, p in trained.named_parameters() if not name.startswith("fc."))
    assert load_backbone(info).num_params == load_backbone(info, keep_head=True).num_params == body


def test_the_kept_head_on_the_features_classifies_as_timm_does(info, trained):
    backbone = load_backbone(info, keep_head=True)
    mean, std = (torch.tensor(info.preprocessing[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(backbone.head(backbone(PIXELS)), trained((PIXELS - mean) / std))


def test_without_keeping_it_there_is_no_head(info):
    assert load_backbone(info).head is None
