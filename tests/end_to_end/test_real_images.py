"""Real ImageNet weights on real photographs: linear probe, kNN and fine-tuning.

tests/backbones/test_real_checkpoints.py measures the same weights with their own 1000-way heads.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from raybench.features.store import FeatureStore
from raybench.store.measurements import read_measurements
from tests.processes import DEADLINE_SECONDS

SHARED = Path(__file__).parents[3] / "shared/data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights and images of ../shared/data"),
]

LITE0 = "tf_efficientnet_lite0__modelmaker-int8-backbone"
SMALL = "mobilenetv2_035__teachable-machine-backbone"
TWIN = "mobilenetv2_035.random"
NUM_TEST = 500
KNOWN_KNN = {LITE0: 0.960, SMALL: 0.873}
"""Top-1 of 7 nearest neighbours, from ../shared/data/MANIFEST.md: 150 train and 150 val images."""
NUM_KNOWN = 150


def row(name: str) -> dict[str, object]:
    """A spec's backbone entry for a user's own checkpoint file."""
    entry = json.loads((SHARED / "weights/weights.json").read_text())[name]
    preprocessing = {**entry["preprocess"], "input_size": entry["preprocess"]["input_size"][-1]}
    return {
        "name": name,
        "timm": entry["timm_model"],
        "checkpoint": str(SHARED / "weights" / f"{name}.safetensors"),
        "kwargs": entry["kwargs"],
        "preprocessing": preprocessing,
        "family": "cnn",
        "method": "supervised",
        "pretrain_data": "imagenet1k",
    }


def spec(name: str, backbones: list[object], tasks: list[str], **more: object) -> str:
    """Spec with 20 training and 5 val photographs for each of ten classes; Imagenette's val split is test."""
    imagenette = {
        "folder": str((SHARED / "datasets/imagenette").resolve()),
        "splits": {"train": "train", "test": "val"},
        "examples_per_class": 25,
    }
    content = {
        "name": name,
        "backbones": backbones,
        "tasks": tasks,
        "datasets": {"imagenette": imagenette},
        "budget": "smoke",
        "seeds": [0],
        **more,
    }
    return json.dumps(content, indent=1)  # Every JSON text is YAML.


@pytest.fixture(scope="module")
def measured(raybench: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with the photographs, measured by all three protocols."""
    folder = tmp_path_factory.mktemp("photographs")
    frozen = spec(
        "frozen",
        [row(LITE0), row(SMALL), TWIN],
        ["knn@imagenette", "linear_probe@imagenette"],
        search={"sampler": "qmc", "num_trials": 2},
    )
    # The smallest backbone only, four steps: 200 images in batches of 64.
    tuned = spec(
        "tuned",
        [row(SMALL), TWIN],
        ["finetune@imagenette"],
        search={"sampler": "qmc", "num_trials": 1},
        max_epochs={"finetune": 1},
    )
    for name, text in (("frozen", frozen), ("tuned", tuned)):
        path = folder / f"{name}.yaml"
        path.write_text(text)
        outcome = raybench(
            "run", path, "--storage", folder / "storage", "--num-cpus", 2, timeout=4 * DEADLINE_SECONDS
        )
        assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return folder / "storage"


def accuracy(storage: Path, task: str) -> dict[str, float]:
    """Backbone → accuracy on test."""
    rows = read_measurements(storage).filter(
        pl.col("metric") == "accuracy", pl.col("split") == "test", pl.col("task") == task
    )
    assert set(rows["num_examples"]) == {NUM_TEST}
    return dict(rows.select("backbone", "value").iter_rows())


def test_nearest_neighbours_reach_the_known_accuracy_of_these_weights(measured):
    """Within three standard errors of the difference: photographs, splits and k differ."""
    accuracies = accuracy(measured, "knn@imagenette")
    for name, known in KNOWN_KNN.items():
        variance = known * (1 - known) * (1 / NUM_KNOWN + 1 / NUM_TEST)
        assert accuracies[name] == pytest.approx(known, abs=3 * math.sqrt(variance))


@pytest.mark.parametrize(
    ("task", "margin"),
    [("knn@imagenette", 0.5), ("linear_probe@imagenette", 0.5), ("finetune@imagenette", 0.3)],
)
def test_pretrained_beats_random_on_photographs(measured, task, margin):
    accuracies = accuracy(measured, task)
    assert accuracies[SMALL] - accuracies[TWIN] > margin


def test_the_linear_probe_is_accurate_on_imagenets_own_classes(measured):
    """Imagenette's ten classes are ImageNet classes, so the features must separate them well."""
    accuracies = accuracy(measured, "linear_probe@imagenette")
    assert accuracies[LITE0] > 0.92
    assert accuracies[SMALL] > 0.80


def test_both_tasks_and_every_trial_share_one_pass_over_the_photographs(measured):
    entries = FeatureStore(measured / "features").entries()
    assert sorted((e.manifest["backbone"], e.manifest["split"]) for e in entries) == sorted(
        (backbone, split) for backbone in (LITE0, SMALL, TWIN) for split in ("train", "val", "test")
    )


def test_every_measurement_states_the_preprocessing(measured):
    table = read_measurements(measured, "frozen").filter(pl.col("backbone") == SMALL)
    stated = {json.dumps(json.loads(text)["preprocessing"], sort_keys=True) for text in table["provenance"]}
    assert [json.loads(text) for text in stated] == [
        {
            "input_size": 224,
            "crop_mode": "center",
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        }
    ]


def test_the_ranking_has_the_better_network_first(measured, raybench):
    outcome = raybench("rank", measured, "--experiment", "frozen", "--format", "json")
    assert outcome.returncode == 0, outcome.stderr
    positions = [outcome.stdout.index(f'"{name}"') for name in (LITE0, SMALL, TWIN)]
    assert positions == sorted(positions)
