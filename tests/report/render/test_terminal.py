"""`raybench rank`: four formats of one ranking, and what it refuses."""

import csv
import io
import json
from pathlib import Path

import pytest

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.core.errors import (
    EmptyInputError,
    MissingMeasurementError,
    StorageError,
    UnknownNameError,
)
from raybench.core.records import Measurement, Pair, Task, TrialRecord
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import FORMATS, rank_text
from raybench.store import ledger
from raybench.store.measurements import write_measurements
from raybench.store.withdrawal import withdraw_results

TASKS = ("knn@digits", "linear_probe@digits")
VALUES = {"good": (0.75, 0.9), "fair": (0.5, 0.8), "poor": (0.25, 0.7)}


def write(
    storage: Path, backbone: str, task: str, value: float, seed: int = 0, experiment: str = "e"
) -> None:
    rows = [
        Measurement(
            experiment=experiment,
            backbone=backbone,
            task=Task.parse(task),
            split="test",
            metric=metric,
            value=number,
            num_examples=4,
            seed=seed,
        )
        for metric, number in (("accuracy", value), ("nll", 1 - value))
    ]
    write_measurements(storage, experiment, f"{backbone}-{task}-{seed}", rows, {})


def rank_storage(storage, *, experiment=None, metric=None, output_format="table", allow_missing=False):
    rule = RankingRule(missing="mean_of_rest" if allow_missing else "refuse")
    results = read_results([storage], experiment=experiment)
    return rank_text(results, Criterion(metric=metric), rule, output_format=output_format)


def save_spec(storage: Path, *backbones: str, experiment: str = "e") -> None:
    spec = {"backbones": [{"name": name} for name in backbones], "tasks": list(TASKS)}
    ledger.save_spec(storage, experiment, spec)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def storage(tmp_path) -> Path:
    for backbone, values in VALUES.items():
        for task, value in zip(TASKS, values, strict=True):
            write(tmp_path, backbone, task, value)
    save_spec(tmp_path, *VALUES)
    return tmp_path


def test_the_table_shows_rank_zscore_and_raw_values_in_percent(storage):
    assert rank_storage(storage).split("\n") == [
        "e: 3 backbones on 2 tasks, measured on test, mean over 1 seed",
        "",
        "rank  backbone  z-score  mean rank  knn@digits  linear_probe@digits",
        "   1  good        +1.00        1.0       75.00                90.00",
        "   2  fair        +0.00        2.0       50.00                80.00",
        "   3  poor        -1.00        3.0       25.00                70.00",
        "",
        "Under the tasks: accuracy, %.",
        "z-score: standard deviations above a task's mean over backbones, averaged over tasks.",
    ]


def test_a_narrow_terminal_gets_a_legend_instead_of_long_titles(storage, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = rank_storage(storage).split("\n")
    assert lines[2] == "rank  backbone  z-score  mean rank    [1]    [2]"
    assert "[2] linear_probe@digits" in lines


def test_a_metric_where_lower_is_better_reverses_the_order(storage):
    text = rank_storage(storage, metric="nll")
    assert "   1  good        +1.00        1.0       0.250                0.100" in text
    assert "Under the tasks: nll, lower is better." in text


def test_json_holds_fractions_with_every_digit(storage):
    content = json.loads(rank_storage(storage, output_format="json"))
    first = content["ranking"][0]
    assert content["experiments"] == ["e"]
    assert content["tasks"]["knn@digits"] == {"metric": "accuracy", "direction": "max"}
    assert content["missing"] == []
    assert (first["backbone"], first["overall_rank"], first["is_complete"]) == ("good", 1, True)
    assert first["tasks"]["linear_probe@digits"]["value"] == 0.9
    assert first["tasks"]["linear_probe@digits"]["rank"] == 1


def test_csv_has_one_line_per_backbone(storage):
    rows = list(csv.DictReader(io.StringIO(rank_storage(storage, output_format="csv"))))
    assert [row["backbone"] for row in rows] == ["good", "fair", "poor"]
    assert rows[0]["linear_probe@digits/accuracy"] == "0.9"
    assert float(rows[2]["knn@digits/zscore"]) == pytest.approx(-1)
    assert rows[1]["knn@digits/rank"] == "2.0"


def test_markdown_is_a_table(storage):
    lines = rank_storage(storage, output_format="markdown").split("\n")
    assert lines[2].startswith("| rank | backbone | z-score |")
    assert lines[3].startswith("| ---: | :------- | ------: |")
    assert len(lines[2]) == len(lines[4])


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_names_every_backbone_and_task(storage, output_format):
    text = rank_storage(storage, output_format=output_format)
    assert all(name in text for name in (*VALUES, *TASKS))


@pytest.mark.parametrize("output_format", FORMATS)
def test_an_incomplete_table_is_refused_or_marked(storage, output_format):
    withdraw_results(storage, "e", "poor-knn@digits-0")
    with pytest.raises(MissingMeasurementError, match=r"1 of 6 pairs have no score: 'poor' on 'knn@digits'"):
        rank_storage(storage, output_format=output_format)
    marked = rank_storage(storage, output_format=output_format, allow_missing=True)
    mark = {
        "table": "* Not comparable, ranked over fewer tasks. No score: poor on knn@digits.",
        "markdown": r"\* Not comparable, ranked over fewer tasks. No score: poor on knn@digits.",
        "json": '"missing": [\n  {\n   "backbone": "poor",\n   "task": "knn@digits"\n  }\n ]',
        "csv": "1,false,",
    }
    assert mark[output_format] in marked


def test_a_backbone_that_failed_on_every_task_is_missing_with_its_reason(storage):
    save_spec(storage, *VALUES, "broken")
    pair = Pair(backbone="broken", task=Task("knn", "digits"))
    record = TrialRecord(
        trial_id=f"{pair.slug}-search-000-0",
        experiment="e",
        pair=Pair(backbone="broken", task=Task.parse("knn@digits")),
        stage="search",
        index=0,
        hparams={},
        seed=0,
        status="failed",
        reason="CheckpointError: no such file.",
    )
    ledger.write_record(storage, record)
    because = r"2 of 8 .*'broken' on 'knn@digits' failed: CheckpointError: no such file\."
    with pytest.raises(MissingMeasurementError, match=because):
        rank_storage(storage)
    last = rank_storage(storage, allow_missing=True).split("\n")[6]
    assert last.split() == ["–", "broken*", "–", "–", "–", "–"]


def test_different_numbers_of_seeds_are_shown_as_a_range(storage):
    write(storage, "good", "knn@digits", 0.75, seed=1)
    assert "mean over 1 to 2 seeds" in rank_storage(storage)


def test_one_experiment_of_several_can_be_selected(storage):
    write(storage, "another", "knn@digits", 0.1, experiment="f")
    with pytest.raises(MissingMeasurementError, match="holds 2 experiments; choose one with `--experiment`"):
        rank_storage(storage)
    assert rank_storage(storage, experiment="e").startswith("e: 3 backbones")
    assert rank_storage(storage, allow_missing=True).startswith("e, f: 4 backbones")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_format": "tabel"}, "unknown format 'tabel'; did you mean 'table'?"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ({"experiment": "ee"}, "no experiment 'ee' in .*; did you mean 'e'|It holds e"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(storage, options, message):
    with pytest.raises(UnknownNameError, match=message):
        rank_storage(storage, **options)


def test_an_empty_storage_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(EmptyInputError, match=r"nothing is measured in .* yet; `raybench run`"):
        rank_storage(tmp_path)
    save_spec(tmp_path, "good")
    with pytest.raises(EmptyInputError, match="nothing is measured"):
        rank_storage(tmp_path, experiment="e")


def test_a_missing_storage_is_refused(tmp_path):
    with pytest.raises(StorageError, match="no storage at"):
        rank_storage(tmp_path / "absent")
