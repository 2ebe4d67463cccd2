"""A real ImageNet checkpoint under attacks, corruptions and distribution shift."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from raybench.store.measurements import read_measurements

SHARED = Path(__file__).parents[3] / "shared/data"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real weights and images of ../shared/data"),
]
NAME = "mobilenetv2_100__coral-tfslim-quant"
KNOWN_ACCURACY = 0.742
"""1000-way top-1 of these weights on the 500 validation photographs."""


@pytest.fixture(scope="module")
def table(raybench, tmp_path_factory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("robust")
    entry = json.loads((SHARED / "weights/weights.json").read_text())[NAME]
    backbone = {
        "name": "mobilenetv2",
        "timm": entry["timm_model"],
        "checkpoint": str((SHARED / "weights" / f"{NAME}.safetensors").resolve()),
        "kwargs": entry["kwargs"],
        "preprocessing": {**entry["preprocess"], "input_size": entry["preprocess"]["input_size"][-1]},
    }
    images = (SHARED / "datasets").resolve()
    spec = {
        "name": "robust",
        "backbones": [backbone],
        "tasks": ["pretrained_head@imagenette", "linear_probe@photo"],
        "datasets": {
            "imagenette": {
                "folder": str(images / "imagenette"),
                "splits": {"train": "train", "test": "val"},
                "shifts": {"cues": {"class_map": "imagenet_16", "cue": r"-([a-z]+)\d*\.png$"}},
            },
            "cues": {"folder": str(images / "texture_vs_shape/cue_conflict"), "test_only": True},
            "photo": {"folder": str(images / "pacs/photo"), "shifts": ["sketch"]},
            "sketch": {"folder": str(images / "pacs/sketch"), "test_only": True},
        },
        "budget": "smoke",
        "search": {"num_trials": 1},
        "seeds": [0],
        "evaluators": [
            "calibration",
            "shift",
            {"adversarial": {"preset": "quick", "linf_epsilons": ["1/255"], "num_examples": 24}},
            {
                "corruption": {
                    "corruptions": ["gaussian_noise", "fog"],
                    "severities": [1, 5],
                    "num_examples": 50,
                }
            },
        ],
    }
    (folder / "robust.yaml").write_text(yaml.safe_dump(spec))
    storage = folder / "storage"
    # A separate process: Ray reads its authentication mode at import, and pytest has imported it already.
    outcome = raybench("run", folder / "robust.yaml", "--storage", storage)
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return read_measurements(storage).filter(split="test")


def value(table: pl.DataFrame, task: str, metric: str, condition: str) -> float:
    rows = table.filter(pl.col("task") == task, pl.col("metric") == metric).filter(
        pl.col("condition").str.starts_with(condition)
    )
    return rows["value"].item()


HEAD = "pretrained_head@imagenette"


def test_the_checkpoints_own_head_has_its_known_accuracy(table):
    assert value(table, HEAD, "accuracy", "clean") == pytest.approx(KNOWN_ACCURACY, abs=0.005)


def test_a_convolutional_network_relies_on_texture(table):
    """Geirhos et al. found shape biases of 0.2 to 0.4 for ImageNet CNNs, 0.96 for people."""
    assert 0.05 < value(table, HEAD, "shape_bias", "shift(cues)") < 0.4
    assert value(table, HEAD, "accuracy", "matched(cues)") > 0.9


def test_accuracy_drops_from_photographs_to_sketches(table):
    assert value(table, "linear_probe@photo", "accuracy", "clean") > 0.9
    assert value(table, "linear_probe@photo", "accuracy_gap", "shift(sketch)") > 0.3


def test_an_attack_of_one_colour_step_breaks_most_predictions(table):
    for task in (HEAD, "linear_probe@photo"):
        clean = value(table, task, "accuracy", "clean")
        assert value(table, task, "robust_accuracy", "linf_pgd(eps=1/255") < 0.5 * clean


def test_stronger_corruption_costs_more_accuracy(table):
    for name in ("gaussian_noise", "fog"):
        light, heavy = (value(table, HEAD, "accuracy", f"{name}(severity={s},version=") for s in (1, 5))
        assert heavy < light <= value(table, HEAD, "accuracy", "clean") + 0.1
