"""Recipes: specs with the winner's hyperparameters, scores and origin."""

from pathlib import Path

import pytest
import yaml

from raybench.core.records import Pair, Task, TrialRecord, metric_values
from raybench.experiment import recipes
from raybench.spec import load_spec
from raybench.store import ledger

SPEC = """
name: question
backbones: [mini_vit.random]
tasks: [linear_probe@digits, finetune@digits]
search: {num_trials: 2}
budget: quick
max_epochs: {linear_probe: 20, finetune: 3}
seeds: [0, 4]
resources: {cpus_per_trial: 1}
"""
PROBE = Pair(backbone="mini_vit.random", task=Task("linear_probe", "digits"))
PROBED = {"solver": "adamw", "feature_norm": "none", "batch_size": 256, "epochs": 12}
CELL = {"lr": 10.0, "weight_decay": 1e-05}


def record(pair: Pair, stage: str, seed: int, hparams: dict, **rest) -> TrialRecord:
    return TrialRecord(
        trial_id=f"{pair.slug}-{stage}-{seed:03d}-0",
        experiment="question",
        pair=pair,
        stage=stage,
        index=0,
        hparams=hparams,
        seed=seed,
        status="completed",
        **rest,
    )


def measured(storage: Path, spec_file: Path, pair: Pair, hparams: dict, cell: dict, edges: dict) -> Path:
    """Records of a search and a final stage as a run leaves them; returns the recipe made of them."""
    spec = load_spec(spec_file)
    winner = record(
        pair,
        "search",
        0,
        hparams,
        values=metric_values({"val/accuracy": 0.9}),
        chosen={**cell, "epoch": 7},
        edges=edges,
    )
    for seed, accuracy in ((0, 0.5), (4, 0.75)):
        metrics = {"test/accuracy": accuracy, "val/accuracy": 0.9, "test/accuracy/fog": 0.1}
        provenance = {"device": "cpu", "versions": {"torch": "2"}}
        final = record(
            pair, "final", seed, {**hparams, **cell}, values=metric_values(metrics), provenance=provenance
        )
        ledger.write_record(storage, final)
    (path,) = recipes.write_all(storage, spec, {pair: winner})
    return path


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "question.yaml"
    path.write_text(SPEC)
    return path


def test_a_recipe_is_a_spec_with_the_winners_hyperparameters_and_no_search(tmp_path, spec_file):
    spec = load_spec(measured(tmp_path, spec_file, PROBE, PROBED, CELL, {}))
    original = load_spec(spec_file)
    assert spec.hparams == {**PROBED, **CELL}
    assert spec.pairs() == [PROBE]
    assert spec.seeds == [0, 4]
    assert spec.max_epochs == {"linear_probe": 20}
    assert spec.budget == original.budget
    assert spec.resources == original.resources
    assert spec.backbones == original.backbones
    assert spec.datasets == original.datasets


def test_a_recipe_states_scores_seeds_trial_and_versions(tmp_path, spec_file):
    path = measured(tmp_path, spec_file, PROBE, PROBED, CELL, {})
    found = yaml.safe_load(path.read_text())["found"]
    assert found["test"] == {"accuracy": [0.5, 0.75]}
    assert found["search"]["val"] == {"accuracy": 0.9}
    assert found["search"]["trial"].startswith(PROBE.slug)
    assert found["versions"] == {"torch": "2"}
    assert "edges" not in found


def test_a_minibatch_reduced_by_memory_is_part_of_the_recipe(tmp_path, spec_file):
    finals = [
        record(
            PROBE,
            "final",
            seed,
            PROBED,
            values=metric_values({"test/accuracy": 0.5}),
            provenance=provenance,
        )
        for seed, provenance in ((0, {}), (4, {"batch_size": 32}))
    ]
    recipe = recipes.make_recipe(load_spec(spec_file), PROBE, None, finals)
    assert recipe["hparams"] == {**PROBED, "batch_size": 32}
    assert recipe["found"]["batch_size"] == [None, 32]


def test_the_header_states_question_and_expected_score(tmp_path, spec_file):
    text = measured(tmp_path, spec_file, PROBE, PROBED, CELL, {}).read_text()
    assert "# Asks:    does mini_vit.random on linear_probe@digits give test accuracy 0.6250" in text
    assert "(mean over 2 seed(s))" in text


def pasted(sentence: str) -> list[dict]:
    """What the line to paste, in backquotes, says to YAML."""
    return yaml.safe_load(sentence.split("`")[1])["spaces"]


def test_a_packed_value_at_an_end_of_its_grid_gets_a_range_to_try(tmp_path, spec_file):
    path = measured(tmp_path, spec_file, PROBE, PROBED, CELL, {"lr": "high"})
    sentence = yaml.safe_load(path.read_text())["found"]["edges"]["lr"]
    assert sentence.startswith("lr = 10.0 is the highest value tried; the best may lie beyond. To try it: `")
    assert f"# Edge:    {sentence}" in path.read_text()
    [entry] = pasted(sentence)
    assert entry["protocol"] == "linear_probe"
    assert entry["backbones"] == ["mini_vit.random"]
    assert entry["space"]["lr"][-3:] == [10.0, 26.1, 68.14]


def test_a_searched_value_at_an_end_of_its_space_gets_a_range_to_try(tmp_path, spec_file):
    pair = Pair(backbone="mini_vit.random", task=Task("finetune", "digits"))
    hparams = {"lr": 0.003, "weight_decay": 0.05, "layer_decay": 0.75, "drop_path": 0.0}
    path = measured(tmp_path, spec_file, pair, hparams, {}, {})
    edges = yaml.safe_load(path.read_text())["found"]["edges"]
    assert list(edges) == ["lr"]  # No drop path is a natural end.
    assert pasted(edges["lr"])[0]["space"] == {"lr": {"low": 1e-5, "high": 0.03, "log": True}}
    assert load_spec(path).hparams == hparams


def test_recipes_of_different_winners_have_different_names(tmp_path, spec_file):
    first = load_spec(measured(tmp_path, spec_file, PROBE, PROBED, CELL, {})).name
    second = load_spec(measured(tmp_path, spec_file, PROBE, PROBED, {**CELL, "lr": 1.0}, {})).name
    assert first != second


def test_a_recipe_contains_backbones_and_datasets_that_the_spec_defines(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / "images" / split / "cat").mkdir(parents=True)
    (tmp_path / "best.safetensors").write_bytes(b"")
    spec_file = tmp_path / "own.yaml"
    spec_file.write_text(
        SPEC.replace("name: question", "name: question\ndatasets: {mine: {folder: images, unreadable: skip}}")
        .replace("mini_vit.random", "{name: own, timm: resnet18.a1_in1k, checkpoint: best.safetensors}")
        .replace("[linear_probe@digits, finetune@digits]", "[linear_probe@mine]")
        .replace(", finetune: 3", "")
    )
    storage = tmp_path / "elsewhere"
    path = measured(
        storage, spec_file, Pair(backbone="own", task=Task("linear_probe", "mine")), PROBED, CELL, {}
    )
    spec, original = load_spec(path), load_spec(spec_file)
    assert spec.datasets == original.datasets
    assert spec.backbones == original.backbones


def test_a_dataset_keeps_the_settings_of_its_source_and_no_others(tmp_path):
    (tmp_path / "x.parquet").touch()
    spec_file = tmp_path / "own.yaml"
    spec_file.write_text(
        SPEC.replace(
            "name: question",
            "name: question\ndatasets: {mine: {parquet: x.parquet, image_column: jpeg, val_fraction: 0.1}}",
        )
        .replace("[linear_probe@digits, finetune@digits]", "[linear_probe@mine]")
        .replace(", finetune: 3", "")
    )
    pair = Pair(backbone="mini_vit.random", task=Task("linear_probe", "mine"))
    path = measured(tmp_path / "elsewhere", spec_file, pair, PROBED, CELL, {})
    assert list(yaml.safe_load(path.read_text())["datasets"]["mine"].items()) == [
        ("parquet", str(tmp_path / "x.parquet")),
        ("splits", {}),
        ("val_fraction", 0.1),
        ("image_column", "jpeg"),
    ]
    assert load_spec(path).datasets == load_spec(spec_file).datasets


def test_a_folder_named_in_the_task_becomes_an_absolute_path(tmp_path):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    spec_file = tmp_path / "own.yaml"
    spec_file.write_text(
        SPEC.replace("[linear_probe@digits, finetune@digits]", "['linear_probe@folder:images']").replace(
            ", finetune: 3", ""
        )
    )
    pair = Pair(backbone="mini_vit.random", task=Task("linear_probe", "folder:images"))
    spec = load_spec(measured(tmp_path / "elsewhere", spec_file, pair, PROBED, CELL, {}))
    assert spec.dataset_of(spec.tasks[0]).source.location == str(tmp_path / "images")


def test_a_pair_without_a_measured_final_stage_gets_no_recipe(tmp_path, spec_file):
    assert recipes.write_all(tmp_path, load_spec(spec_file), {PROBE: None}) == []
    assert not list(tmp_path.rglob(f"{PROBE.slug}.yaml"))


def test_more_epochs_than_the_experiment_allows_need_another_experiment(tmp_path, spec_file):
    path = measured(tmp_path, spec_file, PROBE, {**PROBED, "epochs": 30}, CELL, {})
    sentence = yaml.safe_load(path.read_text())["found"]["edges"]["epochs"]
    assert "raise `max_epochs.linear_probe` in an experiment of another name" in sentence
