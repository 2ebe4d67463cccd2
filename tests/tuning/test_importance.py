"""Hyperparameter importance on objectives that depend on known hyperparameters."""

import math

import numpy as np
import pytest

from raybench.core.records import Pair, Task, TrialRecord, metric_values
from raybench.spec import load_spec
from raybench.store import layout, ledger
from raybench.tuning.importance import importances, store_importances
from raybench.tuning.sampling import sequence

SPEC = """
name: tuned
backbones: [mini_vit.random, mini_resnet.random]
tasks: [finetune@digits, finetune@shapes]
search: {num_trials: 8}
budget: quick
seeds: [0]
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    file = tmp_path_factory.mktemp("spec") / "tuned.yaml"
    file.write_text(SPEC)
    return load_spec(file)


def trials(spec, score, *, num=16, tasks=("finetune@digits",), status="completed"):
    """`score`: (hyperparameters, backbone) → accuracy on val."""
    return [
        TrialRecord(
            trial_id=f"{backbone.name}-{task}-{index}",
            experiment=spec.name,
            pair=Pair(backbone=backbone.name, task=Task.parse(task)),
            stage="search",
            index=index,
            hparams=hparams,
            seed=0,
            status=status,
            values=metric_values({"val/accuracy": score(hparams, backbone.name)}),
        )
        for task in tasks
        for number, backbone in enumerate(spec.backbones)
        for index, hparams in enumerate(
            sequence(spec.space_of("finetune", backbone.name), "qmc", num, number)
        )
    ]


def by_rate(hparams, backbone):
    """The learning rate alone decides; backbones differ in level and spread."""
    level, spread = (0.5, 0.1) if backbone == "mini_vit.random" else (0.1, 0.02)
    return level - spread * (math.log10(hparams["lr"]) + 3) ** 2


def test_the_decisive_hyperparameter_leads_and_irrelevant_ones_stay_at_chance_level(spec):
    rows = importances(spec, trials(spec, by_rate))
    assert rows[0]["hyperparameter"] == "lr"
    assert rows[0]["importance"] > 0.6
    assert rows[0]["importance"] > rows[0]["by_chance"]
    assert all(row["importance"] < row["by_chance"] for row in rows[1:])
    assert sum(row["importance"] for row in rows) == pytest.approx(1)
    assert {(row["scope"], row["num_trials"], row["num_pairs"]) for row in rows} == {
        ("finetune@digits", 32, 2)
    }


def test_random_objectives_stay_at_chance_level(spec):
    rng = np.random.default_rng(0)
    rows = importances(spec, trials(spec, lambda hparams, backbone: float(rng.random())))
    assert [row["hyperparameter"] for row in rows if row["importance"] > row["by_chance"]] == []


def test_a_protocol_of_several_tasks_has_rows_of_its_own(spec):
    rows = importances(spec, trials(spec, by_rate, tasks=("finetune@digits", "finetune@shapes")))
    scopes = {row["scope"]: row["num_trials"] for row in rows}
    assert scopes == {"finetune@digits": 32, "finetune@shapes": 32, "finetune": 64}


def test_too_few_equal_or_stopped_trials_give_no_rows(spec):
    assert importances(spec, trials(spec, by_rate, num=3)) == []
    assert importances(spec, trials(spec, lambda hparams, backbone: 0.5)) == []
    assert importances(spec, trials(spec, by_rate, status="stopped")) == []


def test_importances_are_stored_and_recomputed_when_trials_are_added(spec, tmp_path):
    few = trials(spec, by_rate, num=8)
    store_importances(tmp_path, spec, few)
    kept = ledger.load_importance(tmp_path, spec.name)
    assert kept["rows"] == importances(spec, few)
    file = layout.importance_file(tmp_path, spec.name)
    before = file.stat().st_mtime_ns
    store_importances(tmp_path, spec, list(reversed(few)))
    assert file.stat().st_mtime_ns == before
    store_importances(tmp_path, spec, trials(spec, by_rate))
    assert ledger.load_importance(tmp_path, spec.name)["rows"][0]["num_trials"] == 32
