import math

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param

from raybench.core.records import CurvePoint, Pair, Task, metric_values
from raybench.tracking.run_content import Labels, as_csv, pair_tags, safe_keys, trial_content

LABELS = Labels(
    experiment="demo",
    storage_id="s1",
    spec_digest="d1",
    backbones={"mini_vit.supervised": {"family": "transformer", "method": "supervised"}},
)


def test_the_run_table_shows_the_best_epoch_and_the_curve_has_its_own_keys(record):
    content = trial_content(record(values=metric_values({"val/accuracy": 0.9})), LABELS)
    values = {(point.key, point.step): point.value for point in content.points}
    assert values["val/accuracy", 0] == 0.9
    assert [values["curve/val/accuracy", epoch] for epoch in (1, 2, 3)] == [0.1, 0.2, 0.3]
    assert values["wall_seconds", 0] == 2.0


def test_params_are_the_hyperparameters_and_the_trials_own_choices(record):
    content = trial_content(record(), LABELS)
    assert content.params == {
        "batch_size": "64",
        "solver": "solver-0",
        "chosen.lr": "0.1",
        "chosen.epoch": "2",
    }


def test_a_failed_trial_has_its_reason(record):
    content = trial_content(record(status="failed", reason="DivergedError: loss is NaN", values=()), LABELS)
    assert content.status == "FAILED"
    assert content.tags["raybench.reason"] == "DivergedError: loss is NaN"
    assert content.tags["raybench.status"] == "failed"


def test_a_trial_stopped_early_is_finished_with_status_stopped(record):
    content = trial_content(record(status="stopped"), LABELS)
    assert (content.status, content.tags["raybench.status"]) == ("FINISHED", "stopped")


def test_pairs_and_trials_have_the_tags_that_people_filter_by():
    tags = pair_tags(Pair(backbone="mini_vit.supervised", task=Task("knn", "digits")), LABELS)
    assert tags["family"] == tags["raybench.family"] == "transformer"
    assert tags["backbone"] == "mini_vit.supervised"
    assert tags["task"] == "knn@digits"
    named = {name: tags[f"raybench.{name}"] for name in ("experiment", "protocol", "dataset", "method")}
    assert named == {
        "experiment": "demo", "protocol": "knn", "dataset": "digits", "method": "supervised",
    }  # fmt: skip


def test_a_backbone_outside_the_spec_has_an_unknown_family():
    assert pair_tags(Pair(backbone="other", task=Task("knn", "digits")), LABELS)["family"] == "unknown"


@pytest.mark.parametrize(
    "key",
    [
        "test/accuracy/linf_pgd(eps=8/255)",
        "a//b",
        "../up",
        "/",
        "",
        "über",
        "x" * 600,
        "a/./b",
        "a b:c",
        ".",
        "...",
    ],
)
def test_mlflow_accepts_every_safe_key(key):
    (safe,) = safe_keys([key])
    _validate_metric_name(safe)
    _validate_param(safe, "1")


def test_keys_that_would_collide_stay_distinct():
    keys = ["a(1)", "a[1]", "a_1", "a{1}"]
    assert len(set(safe_keys(keys))) == len(keys)
    assert safe_keys(keys) == safe_keys(keys)


def test_a_start_time_of_zero_is_not_replaced_by_now(record):
    content = trial_content(record(started_at=0.0), LABELS)
    assert (content.start, content.end) == (1, 2000)


def test_a_diverged_curve_keeps_its_nan(record):
    content = trial_content(record(curve=(CurvePoint(epoch=1, metrics={"loss": math.nan}),)), LABELS)
    assert [math.isnan(point.value) for point in content.points if point.key == "curve/val/loss"] == [True]


def test_the_digest_depends_on_the_content_but_not_on_the_spec(record):
    digest = trial_content(record(), LABELS).digest
    extended = Labels(experiment="demo", storage_id="s1", spec_digest="d2", backbones=LABELS.backbones)
    assert trial_content(record(), extended).digest == digest
    assert trial_content(record(wall_seconds=3.0), LABELS).digest != digest


def test_csv_rows_may_have_different_columns():
    assert as_csv([{"k": 1}, {"k": 2, "t": 0.1}]) == "k,t\n1,\n2,0.1\n"
