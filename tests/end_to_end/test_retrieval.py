"""Retrieval from a spec to its measurements: fixed and chosen hyperparameters, and recipes."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from raybench.catalog.retrieval import PRESETS
from raybench.core.records import Pair, Task, TrialRequest
from raybench.experiment import recipes
from raybench.spec import load_spec
from raybench.store import ledger
from raybench.store.measurements import read_measurements
from raybench.worker.trial import Trial

HEAD = "name: mine\nbackbones: [mini_resnet.random]\nbudget: smoke\nseeds: [0]\n"
LISTED = (
    "tasks: [retrieval@own]\ndatasets: {own: {folder: listed, val_fraction: %s, queries: {kind: listed}}}\n"
)


@pytest.fixture
def listed(tmp_path):
    """Four queries in two pairs that share positives, with junk and 12 gallery images of noise."""
    gallery, queries = [f"g{i}" for i in range(12)], [f"q{i}" for i in range(4)]
    (tmp_path / "listed").mkdir()
    for i, name in enumerate([*gallery, *queries]):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"listed/{name}.png")
    entries = [{"ok": [q // 2, 2 + q], "junk": [11 - q]} for q in range(4)]
    content = {"imlist": gallery, "qimlist": queries, "gnd": entries}
    (tmp_path / "listed/gnd.json").write_text(json.dumps(content))
    return tmp_path


def run(spec, storage, stage, hparams):
    """Run one trial to its end; return its record."""
    request = TrialRequest(
        experiment=spec.name,
        pair=Pair(backbone="mini_resnet.random", task=Task("retrieval", "own")),
        stage=stage,
        index=0,
        hparams=hparams,
        seed=0,
        max_epochs=1,
    )
    trial = Trial(request, spec, storage, device="cpu", num_threads=1)
    while not trial.step().is_done:
        pass
    record = ledger.read_record(storage, spec.name, request.trial_id)
    assert record is not None
    assert record.status == "completed", record.reason
    return record


def load(folder, text):
    (folder / "mine.yaml").write_text(HEAD + text)
    return load_spec(folder / "mine.yaml")


def test_a_preset_measures_all_published_queries_on_test_only(listed):
    spec = load(listed, LISTED % 0 + "preset: paper\n")
    run(spec, listed / "runs", "features", {})
    record = run(spec, listed / "runs", "final", spec.hparams)
    measured = read_measurements(listed / "runs")
    assert set(measured["split"]) == {"test"}
    assert set(measured.filter(metric="map")["num_examples"]) == {4}
    assert not any(key.startswith("val/") for key in record.by_key)


def test_held_out_queries_choose_and_the_others_are_reported(listed):
    spec = load(listed, LISTED % 0.5)
    storage = listed / "runs"
    search = run(spec, storage, "search", dict(PRESETS["paper"]))
    assert set(search.by_key) >= {"val/map", "val/mrr"}
    run(spec, storage, "final", dict(PRESETS["paper"]))
    counted = read_measurements(storage).filter(metric="map").select("split", "num_examples")
    assert sorted(counted.rows()) == [("test", 2), ("val", 2)]


def test_a_recipe_repeats_the_query_settings(listed):
    spec = load(listed, LISTED % 0 + "preset: paper\n")
    final = run(spec, listed / "runs", "final", spec.hparams)
    recipe = recipes.make_recipe(spec, spec.pairs()[0], None, [final])
    (listed / "again.yaml").write_text(recipes.render(recipe))
    again = load_spec(listed / "again.yaml")
    assert again.datasets == spec.datasets
    assert again.hparams == spec.hparams
    assert "preset" not in yaml.safe_load((listed / "again.yaml").read_text())
