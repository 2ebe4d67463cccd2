"""The recipe of every protocol with every evaluator is run into a new storage and gives the same bits."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from raybench.backbones.loading import load_backbone
from raybench.catalog.backbones import find_backbone
from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS
from raybench.evaluation.finetune import protocol as finetuning
from raybench.experiment import recipes
from raybench.experiment.reconcile import make_studies, store_spec
from raybench.spec import ExperimentSpec, load_spec
from raybench.spec.settings import restore_settings
from raybench.store import ledger
from raybench.store.measurements import read_measurements
from raybench.worker import trial
from raybench.worker.trial import Trial
from tests.end_to_end.ray_nodes import environment
from tests.fitted import BACKBONE
from tests.processes import DEADLINE_SECONDS

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FAST = {
    "adversarial": {"preset": "quick", "linf_epsilons": ["1/255"], "steps": 2, "num_examples": 8},
    "corruption": {"corruptions": ["fog", "contrast"], "severities": [1, 5], "num_examples": 8},
    "ood": {"near": ["others"], "far": ["folder:FOLDER/elsewhere"]},
}
"""Evaluator → settings that differ from its default preset: to be fast, and to read more datasets."""
OF_EVALUATORS = [(name, preset) for name, info in EVALUATORS.items() for preset in info.presets]


def draw_digits(folder: Path, classes: dict[str, str], start: int, per_class: int) -> None:
    """Write `per_class` digits of each class, from the `start`-th of that class on, as PNG files.

    Args:
        classes: digit → name of its folder.
    """
    images, labels = load_digits(return_X_y=True)
    for digit, name in classes.items():
        (folder / name).mkdir(parents=True)
        rows = np.flatnonzero(labels == int(digit))[start : start + per_class]
        for row in rows:
            pixels = (images[row].reshape(8, 8) * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{row}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of digits, and a checkpoint with a head for them."""
    folder = tmp_path_factory.mktemp("data")
    same = {str(digit): str(digit) for digit in range(10)}
    for split, start, count in (("train", 0, 6), ("val", 6, 4), ("test", 10, 4)):
        draw_digits(folder / "digits" / split, same, start, count)
    draw_digits(folder / "written", dict(zip(same, NUMBERS, strict=True)), 14, 3)
    draw_digits(folder / "others", {"3": "a", "4": "b"}, 20, 4)
    draw_digits(folder / "elsewhere", {"5": "c", "6": "d"}, 24, 12)
    state = load_backbone(find_backbone(BACKBONE)).model.state_dict()
    rng = np.random.default_rng(0)
    head = {"fc.weight": rng.normal(size=(10, 128)), "fc.bias": rng.normal(size=10)}
    tensors = {key: state["conv1.0.weight"].new_tensor(value) for key, value in head.items()}
    save_file({**{k: v.contiguous() for k, v in state.items()}, **tensors}, folder / "headed.safetensors")
    return folder


def spec_of(folder: Path, protocol: str, evaluators: list[object], **more: object) -> Path:
    """A spec of one task on the digits; its datasets and checkpoint have paths relative to its folder."""
    row = find_backbone(BACKBONE)
    headed = {
        "name": "headed",
        "timm": row.timm,
        "checkpoint": "headed.safetensors",
        "kwargs": {**row.kwargs, "num_classes": 10},
        "preprocessing": dict(row.preprocessing),
    }
    maps = {name: [digit] for digit, name in enumerate(NUMBERS)}
    content = {
        "name": "question",
        "backbones": [headed],
        "tasks": [f"{protocol}@mine"],
        "datasets": {
            "mine": {"folder": "digits", "shifts": {"written": {"class_map": maps}}},
            "written": {"folder": "written", "test_only": True},
            "others": {"folder": "others", "test_only": True},
        },
        "budget": "quick",
        "search": {"num_trials": 2},
        "max_epochs": {protocol: min(2, PROTOCOLS[protocol].max_epochs)},
        "seeds": [0, 3],
        "evaluators": evaluators,
        **more,
    }
    path = folder / f"{protocol}.yaml"
    path.write_text(yaml.safe_dump(content).replace("FOLDER", str(folder)))
    return path


def run_in_process(spec: ExperimentSpec, storage: Path) -> Path:
    """Run an experiment of one pair trial by trial, without Ray and MLflow; returns its recipe."""
    store_spec(spec, storage)
    (study,) = make_studies(spec, [])
    requests = study.features_requests() if study.plan.needs_features else []
    while requests or (request := study.next_request()):
        request = requests.pop() if requests else request
        running = Trial(request, spec, storage, device="cpu", num_threads=1)
        while not running.step().is_done:
            pass
        record = ledger.read_record(storage, spec.name, request.trial_id)
        assert record is not None
        assert record.status == "completed", record.reason
        if request.stage != "features":
            study.complete(request, record)
    (recipe,) = recipes.write_all(storage, spec, {study.pair: study.winner})
    return recipe


def measurements(storage: Path) -> pl.DataFrame:
    table = read_measurements(storage).drop("experiment", "trial_id", "provenance")
    return table.sort(table.columns)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_recipe_gives_the_same_bits(protocol, folder, tmp_path):
    needs = PROTOCOLS[protocol].evaluators
    fitting = {name: FAST.get(name) for name, info in EVALUATORS.items() if info.needs in needs}
    evaluators = [{name: settings} if settings else name for name, settings in fitting.items()]
    spec = load_spec(spec_of(folder, protocol, evaluators))
    recipe = run_in_process(spec, tmp_path / "first")
    again = load_spec(recipe)
    run_in_process(again, tmp_path / "again")
    before, after = measurements(tmp_path / "first"), measurements(tmp_path / "again")
    assert before.join(after, on=before.columns, how="anti").is_empty()
    assert after.equals(before)
    finals = [r for r in ledger.read_records(tmp_path / "again", again.name) if r.stage == "final"]
    digests = {name: settings.digest for name, settings in spec.evaluators_of(protocol).items()}
    assert [record.evaluations for record in finals] == [digests, digests]
    assert set(digests) == set(fitting)
    if "ood" in fitting:
        kinds = set(before.filter(pl.col("metric") == "ood_auroc")["condition"].str.extract(r"\((\w+):"))
        assert kinds == {"near", "far"}
    if "shift" in fitting:
        assert before.filter(pl.col("condition") == "shift(written)").height == 2 * 2


def raybench_run(spec: Path, storage: Path) -> None:
    command = [sys.executable, "-m", "raybench.cli", "run", str(spec), "--storage", str(storage)]
    outcome = subprocess.run(
        [*command, "--num-cpus", "1"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        env=environment(),
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr + outcome.stdout


@pytest.mark.slow
def test_the_command_line_runs_a_recipe_with_every_evaluator_and_gets_the_same_bits(folder, tmp_path):
    evaluators = [{name: FAST[name]} if name in FAST else name for name in EVALUATORS]
    raybench_run(spec_of(folder, "pretrained_head", evaluators), tmp_path / "first")
    (recipe,) = (tmp_path / "first/experiments/question/recipes").iterdir()
    raybench_run(recipe, tmp_path / "again")
    before, after = measurements(tmp_path / "first"), measurements(tmp_path / "again")
    assert after.equals(before)
    assert before.height > 100


class OutOfMemoryAbove16:
    """Fine-tuning for which there is memory for passes of 16 images at most."""

    def __call__(self, context, hparams, seed, epochs):
        if hparams.get("micro_batch", 64) > 16:
            np.empty(2**60, dtype=np.uint8)
        return finetuning.finetune(context, hparams, seed, epochs)


@pytest.mark.parametrize("is_searched", [True, False], ids=["search", "final stage only"])
def test_a_recipe_with_batches_reduced_by_memory_gives_the_same_bits(
    is_searched, folder, tmp_path, monkeypatch
):
    fixed = {"lr": 0.001, "weight_decay": 0.05, "layer_decay": 0.75, "drop_path": 0.1}
    more = {} if is_searched else {"search": {}, "hparams": fixed}
    spec = load_spec(spec_of(folder, "finetune", [], **more))
    with monkeypatch.context() as patched:
        patched.setattr(trial, "load_entry_point", lambda address: OutOfMemoryAbove16())
        recipe = run_in_process(spec, tmp_path / "first")
    again = load_spec(recipe)
    assert again.hparams["micro_batch"] == 16
    assert "batch_size" not in again.hparams
    run_in_process(again, tmp_path / "again")
    assert measurements(tmp_path / "again").equals(measurements(tmp_path / "first"))


@pytest.mark.parametrize("protocol", [name for name, info in PROTOCOLS.items() if info.minibatch])
def test_a_minibatch_reduced_by_memory_is_accepted(protocol, folder, tmp_path):
    space = PROTOCOLS[protocol].space
    hparams = {name: dimension.default for name, dimension in space.items()} | {"batch_size": 32}
    assert load_spec(spec_of(folder, protocol, [], search={}, hparams=hparams)).hparams == hparams


def recipe_without_a_run(spec: ExperimentSpec, storage: Path, protocol: str | None = None) -> ExperimentSpec:
    """The recipe of a final stage that the ledger calls completed, as a spec.

    Args:
        protocol: of the pair, if the spec has several.
    """
    (study,) = [s for s in make_studies(spec, []) if protocol in (None, s.pair.task.protocol)]
    request = replace(study.next_request(), stage="final")
    Trial(request, spec, storage, device="cpu", num_threads=1).fail("not run")
    record = ledger.read_record(storage, spec.name, request.trial_id)
    ledger.write_record(storage, replace(record, status="completed", reason=""))
    (recipe,) = recipes.write_all(storage, spec, {study.pair: None})
    return load_spec(recipe)


@pytest.mark.parametrize(("name", "preset"), OF_EVALUATORS)
def test_a_recipe_keeps_the_settings_of_every_preset(name, preset, folder, tmp_path):
    protocol = next(key for key, info in PROTOCOLS.items() if EVALUATORS[name].needs in info.evaluators)
    spec = load_spec(spec_of(folder, protocol, [{name: preset}]))
    again = recipe_without_a_run(spec, tmp_path)
    assert again.evaluators == spec.evaluators
    assert restore_settings(EVALUATORS[name], again.evaluators[name]) == EVALUATORS[name].presets[preset]
    assert again.datasets == spec.datasets
    assert again.backbones == spec.backbones


def test_relative_paths_in_names_of_datasets_become_absolute(folder, tmp_path):
    evaluators = [{"ood": {"far": ["folder:elsewhere", "shapes"]}}]
    spec = load_spec(spec_of(folder, "linear_probe", evaluators))
    again = recipe_without_a_run(spec, tmp_path)
    assert again.evaluators["ood"]["far"] == [f"folder:{folder}/elsewhere", "shapes"]


def test_evaluators_that_do_not_suit_the_protocol_are_left_out(folder, tmp_path):
    spec = load_spec(spec_of(folder, "knn", ["calibration", "adversarial"]))
    assert list(recipe_without_a_run(spec, tmp_path).evaluators) == ["calibration"]


@pytest.mark.parametrize("protocol", ["linear_probe", "finetune"])
def test_a_recipe_of_a_spec_with_every_key_and_several_protocols_is_read(protocol, folder, tmp_path):
    spec = load_spec(
        spec_of(
            folder,
            "linear_probe",
            ["calibration", {"adversarial": "quick"}],
            tasks=["linear_probe@mine", "finetune@mine"],
            search={"num_trials": 2, "objective": "nll", "seed": 3, "early_stopping": "asha"},
            max_epochs={"linear_probe": 3, "finetune": 2},
            resources={
                "cpus_per_trial": 1,
                "gpus_per_trial": 0.5,
                "accelerators": ["H100"],
                "features": {"cpus": 2},
                "final": {"gpus": 1},
                "linear_probe": {"cpus": 1},
                "finetune": {"cpus": 4},
            },
            spaces=[{"protocol": "finetune", "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}}}],
        )
    )
    again = recipe_without_a_run(spec, tmp_path, protocol)
    assert again.protocols == [protocol]
    for stage in ("features", "search", "final"):
        assert again.trial_resources(protocol, stage) == spec.trial_resources(protocol, stage)
    assert again.objective_of(protocol) == "nll"
    assert again.max_epochs_of(protocol) == spec.max_epochs_of(protocol)
    assert again.evaluators_of(protocol) == spec.evaluators_of(protocol)
