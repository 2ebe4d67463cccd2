"""Sections on the search, from a ledger with known contents."""

import io

import polars as pl
import pytest

from raybench.core.records import CurvePoint, Measurement, Pair, Task, TrialRecord, metric_values
from raybench.report.document import report_html as report_of
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from raybench.store import ledger
from raybench.store.measurements import write_measurements
from tests.report.results_on_disk import tables_of

TASK = "linear_probe@digits"
GRID = tuple({"lr": lr, "weight_decay": wd, "accuracy": lr / 2} for lr in (0.1, 1.0) for wd in (0.0, 0.001))


def report_html(storages):
    return report_of(read_results(storages))


def storage_of(folder, *, stopped=False, importance=()):
    """Two backbones; the second trial of each is best, with the grid's highest learning rate."""
    for backbone, level in (("a", 0.6), ("b", 0.4)):
        measurement = Measurement(
            experiment="e",
            backbone=backbone,
            task=Task.parse(TASK),
            split="test",
            metric="accuracy",
            value=level,
            num_examples=10,
            seed=0,
        )
        write_measurements(folder, "e", backbone, [measurement], {})
        for index, gain in enumerate((0.0, 0.1)):
            is_stopped = stopped and index == 0
            values = [level + gain] if is_stopped else [level + gain, level + 2 * gain]
            record = TrialRecord(
                trial_id=f"{backbone}-{index}",
                experiment="e",
                pair=Pair(backbone=backbone, task=Task.parse(TASK)),
                stage="search",
                index=index,
                hparams={"solver": "sgd", "feature_norm": "none", "batch_size": 256, "epochs": 5 + 3 * index},
                seed=0,
                status="stopped" if is_stopped else "completed",
                values=metric_values({"val/accuracy": values[-1]}),
                chosen={"lr": 1.0, "weight_decay": 0.0},
                edges={"lr": "high"},
                curve=tuple(CurvePoint(epoch=e, metrics={"accuracy": v}) for e, v in enumerate(values, 1)),
                grid=GRID,
            )
            ledger.write_record(folder, record)
    ledger.save_spec(folder, "e", {"name": "e", "max_epochs": {"linear_probe": 20}})
    if importance:
        ledger.save_importance(folder, "e", {"rows": list(importance)})
    return folder


def read(page, name):
    return pl.read_csv(io.StringIO(tables_of(page)[f"{name}.csv"]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report_html([storage_of(tmp_path_factory.mktemp("storage"))])


def test_edges_are_counted_over_the_best_trials(page):
    table = read(page, "edges")
    assert table.select("backbone", "hyperparameter", "end").rows() == [
        ("a", "lr", "high"),
        ("b", "lr", "high"),
    ]
    assert read(page, "edges_counted").row(0, named=True) == {
        "protocol": "linear_probe",
        "hyperparameter": "lr",
        "end": "high",
        "num_pairs": 2,
        "of_pairs": 2,
    }
    assert "In 2 of 2 pairs the best trial has a value on an edge, most often lr at its high end" in page


def test_epochs_are_on_an_edge_if_they_reach_the_budget_limit(tmp_path):
    storage_of(tmp_path)
    ledger.save_spec(tmp_path, "e", {"name": "e", "max_epochs": {"linear_probe": 8}})
    table = gather(read_results([tmp_path])).search.edges
    assert set(table["hyperparameter"]) == {"lr", "epochs"}


def test_within_packed_trials_the_learning_rate_explains_all(page):
    table = read(page, "packed_effects")
    shares = dict(table.select("hyperparameter", "share").iter_rows())
    assert shares == pytest.approx({"lr": 1.0, "weight_decay": 0.0, "(interaction)": 0.0})
    assert "lr explains 100 % of the variance over the heads of linear_probe (lr × weight_decay)" in page


def test_missing_importance_is_reported_as_not_shown(page):
    assert "Not shown: importance between trials" in page


def test_importance_is_compared_with_its_level_by_chance(tmp_path):
    blank = {"num_trials": 32, "num_pairs": 2}
    rows = [
        {"scope": TASK, "hyperparameter": "solver", "importance": 0.8, "by_chance": 0.5, **blank},
        {"scope": TASK, "hyperparameter": "epochs", "importance": 0.2, "by_chance": 0.6, **blank},
        {
            "scope": "knn@digits",
            "hyperparameter": "feature_norm",
            "importance": 1.0,
            "by_chance": 1.0,
            **blank,
        },
    ]
    page = report_html([storage_of(tmp_path, importance=rows)])
    assert f"What matters most between trials: {TASK}: solver (0.80, by chance up to 0.50)." in page
    assert "Nothing stands out from chance in knn@digits." in page
    assert read(page, "importance").height == 3


def test_halving_is_replayed_where_no_trial_was_stopped(page):
    assert "No search trial was stopped early, so early stopping lost nothing." in page
    assert "Replayed on 2 pairs" in page
    assert read(page, "halving_replayed")["regret"].to_list() == [0.0, 0.0]


def test_stopped_trials_are_counted_and_their_regret_is_estimated(tmp_path):
    page = report_html([storage_of(tmp_path, stopped=True)])
    assert "2 of 4 trials were stopped, which saved 25 % of the epochs." in page
    assert "estimate from below" in page
    table = read(page, "stopping_regret")
    assert table["expected_regret"].to_list() == [0.0, 0.0]
    assert "early stopping cannot be replayed" in page


def test_a_published_table_has_no_search():
    page = report_html(["published:bob"])
    assert page.count("<dd>no search trial with an objective on val is in the ledger.</dd>") >= 2
