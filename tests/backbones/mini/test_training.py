import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from raybench.backbones.checkpoint import file_digest
from raybench.backbones.mini import files, pretrain
from raybench.backbones.mini.cifar10 import Cifar10, load_cifar10
from raybench.backbones.mini.method import Method
from raybench.backbones.mini.probe import interval_of_mean
from raybench.backbones.mini.recipes import Recipe, recipe_of
from raybench.backbones.mini.training import train
from raybench.catalog.mini import ARCHITECTURES
from raybench.core.errors import CheckpointError, DataError, DivergedError

CPU = torch.device("cpu")


class InterruptedTrainingError(Exception):
    pass


def make_method(recipe: Recipe) -> Method:
    shape = ARCHITECTURES["mini_resnet"]
    torch.manual_seed(0)
    backbone = timm.create_model(shape.timm, num_classes=0, **shape.kwargs)
    return recipe.method(backbone, backbone.num_features)


@pytest.fixture
def recipe() -> Recipe:
    return replace(recipe_of("mini_resnet.supervised")[1], epochs=3, batch_size=16)


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    labels = torch.arange(64) % 10
    images = (labels * 25)[:, None, None, None].expand(-1, 32, 32, 3) + torch.randint(0, 9, (64, 32, 32, 3))
    return images.to(torch.uint8), labels


def test_an_interrupted_training_gives_the_weights_of_an_uninterrupted_one(
    recipe: Recipe, data: tuple[torch.Tensor, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_method(recipe)
    result = train(whole, *data, recipe=recipe, seed=0, checkpoint=tmp_path / "whole.pt", device=CPU)
    assert result.epochs == 3

    broken, augment, calls = make_method(recipe), type(whole).augment, iter(range(100))

    def augment_until_interrupted(self: Method, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if next(calls) == 6:  # In the middle of the second epoch of four batches.
            raise InterruptedTrainingError
        return augment(self, images)

    monkeypatch.setattr(type(whole), "augment", augment_until_interrupted)
    with pytest.raises(InterruptedTrainingError):
        train(broken, *data, recipe=recipe, seed=0, checkpoint=tmp_path / "broken.pt", device=CPU)
    monkeypatch.undo()
    resumed = make_method(recipe)
    train(resumed, *data, recipe=recipe, seed=0, checkpoint=tmp_path / "broken.pt", device=CPU)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_loss_that_is_not_finite_is_refused_and_not_saved(
    recipe: Recipe, data: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    method = make_method(recipe)
    torch.nn.init.constant_(next(method.parameters()), float("nan"))
    with pytest.raises(DivergedError, match=r"loss is nan in epoch 1 of x"):
        train(method, *data, recipe=recipe, seed=0, checkpoint=tmp_path / "x.pt", device=CPU)
    assert not list(tmp_path.iterdir())


def test_a_tenth_holds_the_first_tenth_of_every_class() -> None:
    labels = np.repeat(np.arange(10), 20)
    images = np.zeros((200, 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(200)
    tenth = Cifar10(images=images, labels=labels, fingerprint="").tenth()
    assert tenth.images[:, 0, 0, 0].tolist() == [c * 20 + i for c in range(10) for i in range(2)]
    assert tenth.labels.tolist() == [c for c in range(10) for _ in range(2)]


def test_fingerprints_depend_on_images_labels_and_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    base = Cifar10(images=images, labels=np.array([0, 0, 1, 1]), fingerprint="")
    orders = [base.subset(np.array(order)).fingerprint for order in ([0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 2])]
    assert len(set(orders)) == 3
    assert base.subset(np.arange(4)).fingerprint == orders[0]


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no CIFAR-10 at .*absent\.parquet; pass --data"):
        load_cifar10("train", tmp_path / "absent.parquet", tmp_path)


def test_the_command_reports_an_error_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "absent.parquet"), "--cache", str(tmp_path)]
    assert pretrain.main(["mini_vit.simclr", *data, "--threads", str(torch.get_num_threads())]) == 2
    assert capsys.readouterr().err.startswith("no CIFAR-10 at")


def test_the_command_accepts_the_options_the_readme_shows() -> None:
    options = pretrain.parse(["mini_vit.simclr", "--data", "cifar10", "--epochs", "200", "--device", "cuda"])
    assert (options.names, options.epochs, options.device) == (["mini_vit.simclr"], 200, "cuda")
    assert isinstance(options, argparse.Namespace)


def test_missing_and_foreign_weights_are_refused_by_name(tmp_path: Path) -> None:
    info = files.mini_info("mini_resnet.supervised")
    with pytest.raises(CheckpointError, match=r"'mini_resnet\.supervised': there is no weight file"):
        files.build(info, tmp_path)
    files.save_weights(info.name, torch.nn.Linear(2, 2), tmp_path)
    with pytest.raises(CheckpointError, match=r"do not fit its architecture .* not in the file"):
        files.build(info, tmp_path)


def test_weights_saved_as_float16_are_read_back_to_its_precision(tmp_path: Path) -> None:
    info = files.mini_info("mini_resnet.random")
    backbone = files.build(info)
    name = "mini_resnet.supervised"
    digest = files.save_weights(name, backbone, tmp_path)
    assert digest == file_digest(files.weights_path(name, tmp_path))
    again = files.build(files.mini_info(name), tmp_path)
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=1e-3, atol=1e-7)


def test_sidecars_are_read_back_as_written(tmp_path: Path) -> None:
    files.write_sidecar({"name": "x", "loss": 0.5}, tmp_path)
    assert files.read_sidecar("x", tmp_path) == json.loads((tmp_path / "x.json").read_text())
    assert files.read_sidecar("x", tmp_path)["loss"] == 0.5


def test_the_interval_of_a_mean_covers_it_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    intervals = [interval_of_mean(rng.normal(0.3, 1, 200)) for _ in range(400)]
    assert 0.92 < np.mean([low < 0.3 < high for low, high in intervals]) < 0.98
