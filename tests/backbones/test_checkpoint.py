import os
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from raybench.backbones.checkpoint import checkpoint_path
from raybench.backbones.loading import checkpoint_digest, load_backbone
from raybench.backbones.state_dict_file import read_state_dict
from raybench.core.errors import CheckpointError


def rewrite(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_a_missing_weight_is_named(info, weights):
    rewrite(weights, lambda state: state.pop("layer1.0.conv1.weight"))
    with pytest.raises(CheckpointError, match=r"1 not in the file: layer1\.0\.conv1\.weight"):
        load_backbone(info)


def test_an_unknown_weight_is_named(info, weights):
    rewrite(weights, lambda state: state.update({"layer5.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"1 unknown to the model: layer5\.weight"):
        load_backbone(info)


def test_a_second_head_under_another_name_is_refused(info, weights):
    """The paper's VICReg head was random: only a classifier that timm knows may be dropped."""
    rewrite(weights, lambda state: state.update({"head.weight": torch.zeros(5, 16)}))
    with pytest.raises(CheckpointError, match=r"unknown to the model: head\.weight"):
        load_backbone(info)


def test_features_are_never_the_output_of_a_head(info):
    """The paper's VICReg and MiDaS retrieval features were 1000-way logits (released main_ret.py)."""
    assert load_backbone(info).num_features == 16
    assert load_backbone(info, keep_head=True)(torch.rand(2, 3, 32, 32)).shape == (2, 16)


def test_keeping_the_head_of_a_file_without_one_is_refused(info, weights):
    rewrite(weights, lambda state: [state.pop(key) for key in ("fc.weight", "fc.bias")])
    load_backbone(info)
    with pytest.raises(CheckpointError, match=r"hold no classifier \(fc\), so there is no head to keep"):
        load_backbone(info, keep_head=True)


def test_another_architecture_is_refused_with_shapes(info):
    wider = {**info.kwargs, "channels": [8, 8, 16, 32]}
    with pytest.raises(CheckpointError, match=r"of another shape: layer4.* \(16.*\) for \(32"):
        load_backbone(replace(info, kwargs=wider))


def test_weights_that_are_not_finite_are_refused(info, weights):
    rewrite(weights, lambda state: state["conv1.0.weight"].fill_(torch.nan))
    with pytest.raises(CheckpointError, match=r"not finite in 1 tensors: conv1\.0\.weight"):
        load_backbone(info)


def test_half_precision_weights_give_a_single_precision_backbone(info, weights):
    rewrite(
        weights, lambda state: state.update({k: v.half() for k, v in state.items() if v.is_floating_point()})
    )
    assert {p.dtype for p in load_backbone(info).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_torch_files_load_wrapped_and_prefixed(info, trained, tmp_path, wrap, prefix):
    path = tmp_path / "weights.pt"
    torch.save(wrap({prefix + key: value for key, value in trained.state_dict().items()}), path)
    pixels = torch.rand(2, 3, 32, 32)
    other = load_backbone(replace(info, checkpoint=str(path)))
    assert torch.equal(other(pixels), load_backbone(info)(pixels))


def test_averaged_and_raw_weights_in_one_file_are_refused(trained, tmp_path):
    """The paper's released configs mix ConvNeXt EMA and non-EMA weights under one label."""
    state = trained.state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"holds 2 sets of weights \(state_dict, state_dict_ema\)"):
        read_state_dict(tmp_path / "w.pt")


class RunsCode:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))]
)
def test_pickled_code_is_refused_and_never_runs(tmp_path, save):
    trace, path = tmp_path / "was_here", tmp_path / "weights.pth"
    save({"fc.weight": RunsCode(str(trace))}, path)
    with pytest.raises(CheckpointError, match=r"pickled objects, which could run code and are refused"):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt"])
def test_a_damaged_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match=name):
        read_state_dict(tmp_path / name)


def test_a_file_without_weights_is_refused_with_its_content(tmp_path):
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="expected tensors by name, got a dict with 'epoch', 'lr'"):
        read_state_dict(tmp_path / "w.pt")


def test_a_missing_file_is_named(info, tmp_path):
    with pytest.raises(CheckpointError, match=r"'small': there is no weight file .*gone\.pt"):
        checkpoint_path(replace(info, checkpoint=str(tmp_path / "gone.pt")))


def test_a_row_without_a_path_is_refused(info):
    with pytest.raises(CheckpointError, match="`checkpoint` is not set"):
        checkpoint_path(replace(info, checkpoint=None))


def test_two_checkpoints_under_one_name_have_different_digests(info, weights, tmp_path):
    """ResNet-50 was timm's a1 weights in one of the paper's tables and torchvision's in another."""
    state = load_file(weights)
    state["conv1.0.weight"] += 0.01
    save_file(state, tmp_path / "other.safetensors")
    other = replace(info, checkpoint=str(tmp_path / "other.safetensors"))
    assert other.name == info.name
    assert checkpoint_digest(other) != checkpoint_digest(info)


def test_one_checkpoint_under_two_names_has_one_digest(info):
    assert checkpoint_digest(replace(info, name="another")) == checkpoint_digest(info)


def test_an_overwritten_file_gets_a_new_digest(info, weights):
    before, modified = checkpoint_digest(info), weights.stat().st_mtime_ns
    rewrite(weights, lambda state: state["conv1.0.weight"].add_(1))
    os.utime(weights, ns=(modified, modified))  # As if within one tick of the file system's clock.
    assert checkpoint_digest(info) != before
