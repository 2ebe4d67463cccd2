"""Checkpoints: right files of any training tool load, files of the wrong kind are refused with the reason."""

import itertools
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from raybench.backbones.loading import load_backbone
from raybench.backbones.state_dict_file import read_state_dict
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError

WEIGHT = "layer1.0.conv1.weight"
PREFIXES = ("module.", "_orig_mod.", "model.")
CHAINS = ["".join(order) for length in (1, 2, 3) for order in itertools.permutations(PREFIXES, length)] + [
    "module.module.",
    "model.model._orig_mod.",
]


def saved(info, path, state):
    torch.save(state, path)
    return replace(info, checkpoint=str(path))


def changed(info, trained, tmp_path, change):
    """Backbone row of a torch file whose tensors are all passed through `change`."""
    state = {key: change(value) for key, value in trained.state_dict().items()}
    return saved(info, tmp_path / "changed.pt", state)


def is_equal(one, other):
    pixels = torch.rand(2, 3, 32, 32)
    return torch.equal(load_backbone(one)(pixels), load_backbone(other)(pixels))


@pytest.mark.parametrize(
    ("convert", "kind"),
    [
        (lambda v: v.to(torch.int32), "whole number for float"),
        (lambda v: v.to(torch.int8), "whole number for float"),
        (lambda v: v.to(torch.uint8), "whole number for float"),
        (lambda v: v > 0, "bool for float"),
        (lambda v: v.to(torch.complex64), "complex64 for float"),
        (lambda v: v.to(torch.float8_e4m3fn), r"quantised \(float8_e4m3fn\) for float"),
        (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), r"quantised \(qint8\) for float"),
        (lambda v: v.to_sparse(), r"sparse \(float32\) for float"),
    ],
)
@pytest.mark.parametrize("is_all", [True, False], ids=["all", "one"])
@pytest.mark.filterwarnings("ignore:.*quantized tensor.*:UserWarning")
def test_weights_of_another_kind_than_the_models_are_refused(info, trained, tmp_path, convert, kind, is_all):
    state = trained.state_dict()
    chosen = [key for key in state if state[key].is_floating_point()] if is_all else [WEIGHT]
    state |= {key: convert(state[key].contiguous()) for key in chosen}
    with pytest.raises(CheckpointError, match=rf"'small' are of the wrong kind in \d+ tensors: .*{kind}"):
        load_backbone(saved(info, tmp_path / "w.pt", state))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5])
def test_constant_weights_are_refused(info, trained, tmp_path, value):
    row = changed(
        info, trained, tmp_path, lambda v: torch.full_like(v, value) if v.is_floating_point() else v
    )
    match = "negative variances" if value < 0 else "hold no information: every matrix is constant"
    with pytest.raises(CheckpointError, match=match):
        load_backbone(row)


def test_a_layer_of_zeros_among_others_is_no_reason_to_refuse(info, trained, tmp_path):
    state = trained.state_dict()
    state[WEIGHT] = torch.zeros_like(state[WEIGHT])
    load_backbone(saved(info, tmp_path / "w.pt", state))


@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan")])
def test_weights_that_are_not_finite_in_the_models_precision_are_refused(info, trained, tmp_path, value):
    state = trained.state_dict()
    state[WEIGHT] = torch.full_like(state[WEIGHT], value, dtype=torch.float64)
    with pytest.raises(CheckpointError, match=f"not finite in 1 tensors: {WEIGHT}"):
        load_backbone(saved(info, tmp_path / "w.pt", state))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_converted(info, trained, tmp_path, dtype):
    row = changed(info, trained, tmp_path, lambda v: v.to(dtype) if v.is_floating_point() else v)
    rounded = changed(
        replace(info),
        trained,
        tmp_path / "",
        lambda v: v.to(dtype).to(v.dtype) if v.is_floating_point() else v,
    )
    assert {p.dtype for p in load_backbone(row).parameters()} == {torch.float32}
    assert is_equal(row, rounded)


def test_tensors_without_values_are_refused(info, trained, tmp_path):
    row = changed(info, trained, tmp_path, lambda v: v.to("meta"))
    with pytest.raises(
        CheckpointError, match=r"tensors without values, on the device 'meta': conv1\.0\.weight"
    ):
        load_backbone(row)


@pytest.mark.parametrize("key", [0, 7, (1, 2), None, b"conv"])
def test_keys_that_are_no_names_are_refused(info, trained, tmp_path, key):
    with pytest.raises(CheckpointError, match="which is no name"):
        load_backbone(saved(info, tmp_path / "w.pt", {**trained.state_dict(), key: torch.zeros(2)}))


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"",
        b"\x80\x02.",
        b"r",
        b"N.",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"<!DOCTYPE html><html>404</html>",
        b'{"weights": 1}',
        b"0123456789",
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors", ".SAFETENSORS"])
def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.(?i:pth|pt|bin|safetensors)"):
        read_state_dict(path)


@pytest.mark.parametrize("shape", [(), (5,), (0, 16)])
def test_a_head_without_classes_is_refused(info, weights, shape):
    state = load_file(weights)
    save_file({**state, "fc.weight": torch.ones(shape)}, weights)
    with pytest.raises(CheckpointError, match=r"fc\.weight has shape .*a head has \[classes, features\]"):
        load_backbone(info, keep_head=True)


@pytest.mark.parametrize("chain", CHAINS)
def test_prefixes_of_training_tools_are_removed_in_any_order(info, trained, tmp_path, chain):
    state = {chain + key: value for key, value in trained.state_dict().items()}
    assert is_equal(saved(info, tmp_path / "w.pt", state), info)
    assert is_equal(saved(info, tmp_path / "w.pt", {"state_dict": {"model": state}, "epoch": 1}), info)


def test_a_prefix_that_only_some_keys_have_stays(info, trained, tmp_path):
    state = {("module." + key if key == WEIGHT else key): v for key, v in trained.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"1 unknown to the model: module\.{WEIGHT}"):
        load_backbone(saved(info, tmp_path / "w.pt", state))


@pytest.mark.parametrize("wrap", [lambda m: m, torch.nn.DataParallel], ids=["plain", "data_parallel"])
def test_averaged_models_load_without_their_counter(info, trained, tmp_path, wrap):
    averaged = AveragedModel(wrap(trained))
    assert is_equal(saved(info, tmp_path / "w.pt", averaged.state_dict()), info)
    wrapped = {"model." + key: value for key, value in averaged.state_dict().items()}
    assert is_equal(saved(info, tmp_path / "w.pt", wrapped), info)


def test_counters_of_batch_norm_may_be_missing(info, trained, tmp_path):
    state = {k: v for k, v in trained.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(trained.state_dict())
    assert is_equal(saved(info, tmp_path / "w.pt", state), info)


def test_statistics_of_batch_norm_may_not_be_missing(info, trained, tmp_path):
    state = {k: v for k, v in trained.state_dict().items() if not k.endswith("running_mean")}
    with pytest.raises(CheckpointError, match=r"not in the file: bn1\.running_mean|conv1\.\d\.running_mean"):
        load_backbone(saved(info, tmp_path / "w.pt", state))


@pytest.mark.parametrize(
    "architecture",
    ["levit_128s", "repvit_m0_9", "efficientvit_m0", "shvit_s1", "caformer_s18", "vit_tiny_patch16_224"],
)
def test_timms_own_checkpoint_loads_whatever_its_head(tmp_path, architecture):
    """Heads of linear layers behind batch norm, MLP heads, and two heads for distillation."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=7).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    info = BackboneInfo(
        name="own", timm=architecture, weights="file", checkpoint=str(tmp_path / "w.safetensors")
    )
    images = torch.rand(1, 3, 224, 224)
    backbone = load_backbone(info)
    model.reset_classifier(0)
    with torch.inference_mode():
        expected = model(backbone.normalise(images))
        torch.testing.assert_close(backbone(images), expected, rtol=1e-4, atol=1e-5)


def test_a_second_head_beside_a_batch_norm_head_is_refused(tmp_path):
    model = timm.create_model("efficientvit_m0", num_classes=7)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file({**state, "head.extra.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    info = BackboneInfo(
        name="own", timm="efficientvit_m0", weights="file", checkpoint=str(tmp_path / "w.safetensors")
    )
    with pytest.raises(CheckpointError, match=r"1 unknown to the model: head\.extra\.weight"):
        load_backbone(info)
