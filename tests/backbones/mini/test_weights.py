"""Every shipped weight file: digest, architecture, features, and accuracy as recorded in its sidecar."""

from pathlib import Path

import pytest
import torch

from raybench.backbones.checkpoint import MINI_WEIGHTS, file_digest
from raybench.backbones.mini.cifar10 import Cifar10, load_cifar10
from raybench.backbones.mini.export import cifar10_slices
from raybench.backbones.mini.files import build, mini_info, read_sidecar, weights_path
from raybench.backbones.mini.probe import SLICE, digits_slice_accuracy, slice_accuracy
from raybench.catalog.mini import MINI

FILES = [info.name for info in MINI if info.weights == "file"]
CIFAR10_PARQUET = Path(__file__).parents[3] / "../shared/data/datasets/cifar10_full.parquet"
TOLERANCE = 4
"""Images of a slice whose class another processor's rounding may change."""


def test_the_folder_holds_exactly_the_files_of_the_catalogue() -> None:
    expected = {f"{name}{suffix}" for name in FILES for suffix in (".safetensors", ".json")}
    assert {path.name for path in MINI_WEIGHTS.iterdir()} == expected


def test_all_weights_together_stay_below_12_megabytes() -> None:
    assert sum(weights_path(name).stat().st_size for name in FILES) < 12e6


@pytest.mark.parametrize("name", FILES)
def test_the_file_matches_its_sidecar(name: str) -> None:
    sidecar = read_sidecar(name)
    assert file_digest(weights_path(name)) == sidecar["sha256"]
    assert sidecar["name"] == name
    assert sidecar["command"].startswith(f"python -m raybench.backbones.mini.pretrain {name}")
    assert sidecar["train_images"] == mini_info(name).pretrain_images


@pytest.mark.parametrize("name", FILES)
def test_the_file_loads_strictly_and_features_have_the_recorded_width(name: str) -> None:
    sidecar, info, backbone = read_sidecar(name), mini_info(name), build(mini_info(name))
    num_params = sum(p.numel() for p in backbone.parameters())
    assert num_params == sidecar["num_params"]
    assert info.params_m == pytest.approx(num_params / 1e6, abs=5e-4)
    with torch.inference_mode():
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, sidecar["num_features"])


@pytest.mark.parametrize("name", FILES)
def test_a_probe_on_a_slice_of_the_digits_has_the_recorded_accuracy(name: str) -> None:
    measured, recorded = digits_slice_accuracy(build(mini_info(name))), read_sidecar(name)["slices"]["digits"]
    assert abs(num_correct(measured) - num_correct(recorded)) <= TOLERANCE


def num_correct(accuracy: float) -> int:
    return round(SLICE * accuracy)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cifar10, Cifar10]:
    if not CIFAR10_PARQUET.exists():
        pytest.skip("needs ../shared/data/datasets/cifar10_full.parquet")
    cache: Path = tmp_path_factory.mktemp("cifar10")
    return cifar10_slices(
        load_cifar10("train", CIFAR10_PARQUET, cache), load_cifar10("test", CIFAR10_PARQUET, cache)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_probe_on_a_slice_of_cifar10_has_the_recorded_accuracy(
    name: str, slices: tuple[Cifar10, Cifar10]
) -> None:
    fit, held_out = slices
    measured = slice_accuracy(
        build(mini_info(name)), fit.images, fit.labels, held_out.images, held_out.labels
    )
    assert abs(num_correct(measured) - num_correct(read_sidecar(name)["slices"]["cifar10"])) <= TOLERANCE


@pytest.mark.parametrize("name", FILES)
def test_pretraining_beats_the_random_twin_on_cifar10(name: str) -> None:
    measured = read_sidecar(name)["linear_probe_cifar10"]
    low, _ = measured["margin_95"]
    assert low > 0
    if mini_info(name).method == "supervised":
        assert measured["margin"] >= 0.15


def test_twins_are_identical_every_time_and_do_not_change_the_generator() -> None:
    info = mini_info("mini_vit.random")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build(info)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    second = build(info)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
