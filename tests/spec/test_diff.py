"""Additions extend an experiment; any other change conflicts with its measurements."""

from dataclasses import replace

import pytest

from raybench.spec import diff, load_spec


@pytest.fixture
def change(write):
    """The change from GOOD to GOOD with some lines replaced."""

    def _change(**lines: str):
        old = load_spec(write())
        return diff(old, load_spec(write(**lines)))

    return _change


def test_the_same_spec_changes_nothing(change):
    assert (change().extends, change().conflicts) == ([], [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "backbones",
            "[mini_resnet.supervised, mini_vit.supervised, mini_vit.mae]",
            "backbones: adds mini_vit.mae",
        ),
        ("tasks", "[linear_probe@digits, knn@digits, knn@shapes]", "tasks: adds knn@shapes"),
        ("seeds", "[0, 1, 2]", "seeds: adds 2"),
        ("evaluators", "[calibration]", "evaluators: adds calibration"),
        ("search", "{num_trials: 8}", "search.num_trials: 4 → 8"),
    ],
)
def test_additions_extend(change, key, value, message):
    made = change(**{key: value})
    assert (made.extends, made.conflicts) == ([message], [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "backbones",
            "[mini_vit.supervised]",
            "backbones: lacks mini_resnet.supervised, already planned or measured",
        ),
        ("search", "{num_trials: 2}", "search.num_trials: 4 → 2; trials cannot be taken back"),
        ("search", "{num_trials: 4, sampler: tpe}", "search.sampler: qmc → tpe"),
        ("search", "{num_trials: 4, seed: 1}", "search.seed: 0 → 1"),
        ("search", "{num_trials: 4, early_stopping: asha}", "search.early_stopping: none → asha"),
        ("max_epochs", "{linear_probe: 20}", "max_epochs.linear_probe: 30 → 20"),
    ],
)
def test_anything_else_conflicts(change, key, value, message):
    assert message in change(**{key: value}).conflicts


def test_a_budget_conflicts_by_its_limits_and_not_by_its_name(change):
    made = change(budget="standard")
    assert "max_epochs.linear_probe: 30 → 100" in made.conflicts
    assert "budget.wall_seconds: 1800.0 → None" in made.conflicts
    assert not any("quick" in conflict for conflict in made.conflicts)


def test_a_backbone_row_that_gains_or_loses_its_entry_point_conflicts(write):
    without = load_spec(write())
    row = replace(without.backbones[0], entry_point="package.module:build")
    built = without.model_copy(update={"backbones": [row, *without.backbones[1:]]})
    where = f"backbones.{row.name}.entry_point"
    assert diff(without, built).conflicts == [f"{where}: None → package.module:build"]
    assert diff(built, without).conflicts == [f"{where}: package.module:build → None"]


def test_resources_change_nothing(change):
    made = change(resources="{cpus_per_trial: 2}")
    assert (made.extends, made.conflicts) == ([], [])


def test_a_dataset_that_moved_its_splits_conflicts(write, tmp_path):
    for folder in ("photos/train/cat", "photos/val/cat"):
        (tmp_path / folder).mkdir(parents=True)
    old = load_spec(write(tasks="[knn@own]", datasets="{own: {folder: photos}}"))
    new = load_spec(write(tasks="[knn@own]", datasets="{own: {folder: photos, splits: {train: val}}}"))
    assert any(conflict.startswith("datasets.own.splits: ") for conflict in diff(old, new).conflicts)


@pytest.mark.parametrize(
    ("evaluators", "shifts", "stale"),
    [
        ("[{ood: {near: [far_away]}}, calibration]", "[]", ["ood"]),
        ("[{ood: {near: [far_away]}}, shift]", "[far_away]", ["ood", "shift"]),
        ("[calibration]", "[far_away]", []),
    ],
)
def test_a_dataset_that_only_evaluators_read_may_be_corrected(write, tmp_path, evaluators, shifts, stale):
    for folder in ("photos/train/cat", "photos/test/cat", "wrong/test/cat", "right/cat"):
        (tmp_path / folder).mkdir(parents=True)

    def spec(folder):
        own = f"own: {{folder: photos, shifts: {shifts}}}"
        other = f"far_away: {{folder: {folder}, test_only: true}}"
        return load_spec(write(tasks="[knn@own]", datasets=f"{{{own}, {other}}}", evaluators=evaluators))

    made = diff(spec("wrong"), spec("right"))
    assert made.conflicts == []
    assert made.stale_evaluators == stale
    assert any("datasets.far_away: changed" in sentence for sentence in made.extends)
    assert diff(spec("right"), spec("right")).stale_evaluators == []


def test_a_dataset_that_a_task_reads_too_may_not_change(write, tmp_path):
    for folder in ("one/cat", "other/cat"):
        (tmp_path / folder).mkdir(parents=True)
    lines = {"tasks": "[knn@own, knn@digits]", "evaluators": "[{ood: {near: [own]}}]"}
    old, new = (
        load_spec(write(**lines, datasets=f"{{own: {{folder: {name}}}}}")) for name in ("one", "other")
    )
    made = diff(old, new)
    assert made.stale_evaluators == []
    assert any(conflict.startswith("datasets.own.source: ") for conflict in made.conflicts)
