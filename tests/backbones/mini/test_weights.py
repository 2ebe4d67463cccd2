"""Every file that ships is read back: digest, architecture, features, and that it is as good as it says."""

from pathlib import Path

import pytest
import torch

from raybench.backbones.mini.cifar10 import CIFAR10_PARQUET, Cifar10, load_cifar10
from raybench.backbones.mini.export import cifar10_slices
from raybench.backbones.mini.files import WEIGHTS, build, mini_info, read_sidecar, sha256, weights_path
from raybench.backbones.mini.probe import digits_slice_accuracy, slice_accuracy
from raybench.catalog.mini import MINI

FILES = [info.name for info in MINI if info.weights == "file"]
TOLERANCE = 0.0081
"""Four of 500 images: what another processor's rounding may turn around."""


def test_the_folder_holds_the_catalogue_s_files_and_nothing_else() -> None:
    expected = {f"{name}{suffix}" for name in FILES for suffix in (".safetensors", ".json")}
    assert {path.name for path in WEIGHTS.iterdir()} == expected


def test_all_weights_together_stay_below_12_megabytes() -> None:
    assert sum(weights_path(name).stat().st_size for name in FILES) < 12e6


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_the_one_its_sidecar_describes(name: str) -> None:
    sidecar = read_sidecar(name)
    assert sha256(weights_path(name)) == sidecar["sha256"]
    assert sidecar["name"] == name
    assert sidecar["command"].startswith(f"python -m raybench.backbones.mini.pretrain {name}")
    assert sidecar["train_images"] == mini_info(name).pretrain_images


@pytest.mark.parametrize("name", FILES)
def test_the_file_loads_strictly_and_gives_features_of_the_recorded_width(name: str) -> None:
    sidecar, info, backbone = read_sidecar(name), mini_info(name), build(mini_info(name))
    num_params = sum(p.numel() for p in backbone.parameters())
    assert num_params == sidecar["num_params"]
    assert info.params_m == pytest.approx(num_params / 1e6, abs=5e-4)
    with torch.inference_mode():
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, sidecar["num_features"])


@pytest.mark.parametrize("name", FILES)
def test_a_probe_on_a_slice_of_the_digits_is_as_good_as_recorded(name: str) -> None:
    measured = digits_slice_accuracy(build(mini_info(name)))
    assert measured == pytest.approx(read_sidecar(name)["slices"]["digits"], abs=TOLERANCE)


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
def test_a_probe_on_a_slice_of_cifar10_is_as_good_as_recorded(
    name: str, slices: tuple[Cifar10, Cifar10]
) -> None:
    fit, read = slices
    measured = slice_accuracy(build(mini_info(name)), fit.images, fit.labels, read.images, read.labels)
    assert measured == pytest.approx(read_sidecar(name)["slices"]["cifar10"], abs=TOLERANCE)


@pytest.mark.parametrize("name", FILES)
def test_pretraining_beats_the_random_twin_on_cifar10(name: str) -> None:
    measured = read_sidecar(name)["linear_probe_cifar10"]
    low, _ = measured["margin_95"]
    assert low > 0
    if mini_info(name).method == "supervised":
        assert measured["margin"] >= 0.15


def test_twins_are_the_same_network_every_time_and_leave_the_generator_alone() -> None:
    info = mini_info("mini_vit.random")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build(info)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    second = build(info)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
