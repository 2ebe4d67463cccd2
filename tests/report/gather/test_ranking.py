"""The rule's choices, the criterion and the intervals, at the command line and by hand."""

import json

import polars as pl
import pytest

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.analysis.bootstrap import example_means, replicate
from raybench.analysis.intervals import ranking_intervals
from raybench.cli import main
from raybench.core.errors import EmptyInputError, MissingMeasurementError, UnknownNameError
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.ranking import rank_results
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from raybench.report.gather.uncertainty import estimate_uncertainty
from raybench.report.render.terminal import rank_text
from tests.report.results_on_disk import TASKS, fill

THREE = """backbone,task,metric,value,seed,method
a,knn@digits,accuracy,1.0,0,mae
b,knn@digits,accuracy,0.0,0,mae
a,finetune@digits,accuracy,1.0,0,mae
b,finetune@digits,accuracy,0.0,0,mae
a,retrieval@shapes,map,0.0,0,mae
b,retrieval@shapes,map,1.0,0,mae
"""
"""a wins both tasks of classification, b the one of retrieval; every z-score is ±1/√2."""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(THREE)
    return file


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("storage"))


def ranked(capsys, *arguments):
    assert main(["rank", *map(str, arguments), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def zscores(content):
    return {row["backbone"]: row["mean_zscore"] for row in content["ranking"]}


def test_every_task_weighs_the_same_unless_categories_are_to(table, capsys):
    third = 0.5**0.5 / 3
    assert zscores(ranked(capsys, table)) == pytest.approx({"a": third, "b": -third})
    macro = ranked(capsys, table, "--mean", "macro")
    assert zscores(macro) == pytest.approx({"a": 0, "b": 0})
    assert macro["rule"]["mean"] == "macro"
    assert main(["rank", str(table), "--mean", "macro"]) == 0
    assert "averaged over tasks, then over categories" in capsys.readouterr().out


def test_backbones_without_pretraining_can_be_left_out(table, capsys):
    table.write_text(THREE + "".join(f"c,{t},{m},0.5,0,none\n" for t, m in zip(*TASK_METRICS, strict=True)))
    assert zscores(ranked(capsys, table))["a"] == pytest.approx(1 / 3)
    without = ranked(capsys, table, "--without-random-init")
    assert zscores(without)["a"] == pytest.approx(0.5**0.5 / 3)
    assert main(["rank", str(table), "--without-random-init"]) == 0
    assert "Left out, as not pretrained: c." in capsys.readouterr().out


TASK_METRICS = (("knn@digits", "finetune@digits", "retrieval@shapes"), ("accuracy", "accuracy", "map"))


@pytest.mark.parametrize(
    ("option", "expected", "note"),
    # knn: 0, 0.5, 1 → −1, 0, 1; finetune lacks c: ±1/√2.
    [
        ("mean-of-rest", {"a": (1 + 0.5**0.5) / 2, "b": (-1 - 0.5**0.5) / 2, "c": 0.0}, "over fewer tasks"),
        ("zero", {"a": (1 + 0.5**0.5) / 2, "b": (-1 - 0.5**0.5) / 2, "c": 0.0}, "counted as z-score 0"),
        (
            "common-tasks",
            {"a": 1.0, "b": -1.0, "c": 0.0},
            "Left out, as not every backbone has a score there",
        ),
    ],
)
def test_missing_scores_follow_the_option(tmp_path, capsys, option, expected, note):
    file = tmp_path / "t.csv"
    lines = [line for line in THREE.splitlines() if "retrieval" not in line]
    file.write_text("\n".join([*lines, "c,knn@digits,accuracy,0.5,0,mae"]))
    assert main(["rank", str(file)]) == 2
    assert "'c' on 'finetune@digits'" in capsys.readouterr().err
    assert zscores(ranked(capsys, file, "--missing", option)) == pytest.approx(expected)
    assert main(["rank", str(file), "--missing", option]) == 0
    assert note in capsys.readouterr().out


def test_signs_can_be_left_as_they_are(tmp_path, capsys):
    file = tmp_path / "t.csv"
    file.write_text("backbone,task,metric,value\na,knn@digits,ece,0.1\nb,knn@digits,ece,0.3\n")
    assert zscores(ranked(capsys, file, "--metric", "ece"))["a"] > 0
    assert zscores(ranked(capsys, file, "--metric", "ece", "--lower-is-better", "as-is"))["a"] < 0


def test_tasks_can_be_chosen_by_pattern(storage, capsys):
    content = ranked(capsys, storage, "--task", "*@digits")
    assert sorted(content["tasks"]) == ["knn@digits", "linear_probe@digits"]
    with pytest.raises(UnknownNameError, match="did you mean 'knn@digits'"):
        rank_results(read_results([storage]), Criterion(tasks=("knn@digit",)))


def test_a_published_table_refuses_what_it_does_not_hold():
    results = read_results(["published:bob"])
    with pytest.raises(EmptyInputError, match="holds mrr only, not map"):
        rank_results(results, Criterion(metric="map"))
    with pytest.raises(EmptyInputError, match="none of an evaluator"):
        rank_results(results, Criterion(category="calibration"))
    one = rank_results(results, Criterion(tasks=("*cub200",)))
    assert list(one.tasks) == ["retrieval@cub200"]
    asked = rank_results(results, with_intervals=True)
    assert "there is no interval" in asked.uncertainty_note
    assert "zscore_low" not in asked.aggregate_ranking.columns


def test_intervals_are_those_of_the_bootstrap(storage, capsys):
    results = read_results([storage])
    content = ranked(capsys, storage, "--intervals")
    report_data = gather(results)
    expected = ranking_intervals(report_data.uncertainty.replicates).sort("backbone")
    table = pl.DataFrame(content["ranking"]).sort("backbone")
    for column in ("zscore_low", "zscore_high", "rank_low", "rank_high", "p_first"):
        assert table[column].to_list() == pytest.approx(expected[column].to_list())
    cell = content["ranking"][0]["tasks"]["knn@digits"]
    assert cell["low"] < cell["value"] < cell["high"]
    assert "test examples" in content["intervals"]
    text = rank_text(results, with_intervals=True)
    assert "P(best)" in text
    assert "[1, 1]" in text
    header = rank_text(results, output_format="csv", with_intervals=True).splitlines()[0]
    assert "zscore_low" in header
    assert "knn@digits/low" in header
    assert "low" not in rank_text(results, output_format="csv").splitlines()[0]


def test_intervals_follow_the_rule(storage):
    results = read_results([storage])
    macro = rank_results(results, rule=RankingRule(mean="macro"), with_intervals=True).aggregate_ranking
    inside = (macro["zscore_low"] <= macro["mean_zscore"]) & (macro["mean_zscore"] <= macro["zscore_high"])
    assert inside.all()
    report_data = gather(results, rule=RankingRule(mean="macro", deviation="population"))
    drawn = report_data.uncertainty.ranking_intervals().sort("backbone")["mean_zscore"].to_list()
    assert drawn == pytest.approx(report_data.overall.sort("backbone")["mean_zscore"].to_list())


def test_intervals_of_a_loss_have_its_sign(tmp_path):
    file = tmp_path / "t.csv"
    rows = [f"{b},knn@digits,ece,{v + s / 100},{s}" for b, v in (("a", 0.1), ("b", 0.3)) for s in range(3)]
    file.write_text("\n".join(["backbone,task,metric,value,seed", *rows]))
    for sign in ("turned", "as_is"):
        rule = RankingRule(lower_is_better=sign)
        ranking = rank_results(read_results([file]), Criterion(metric="ece"), rule, with_intervals=True)
        cell = ranking.ranked.filter(backbone="a").row(0, named=True)
        assert 0.08 <= cell["low"] <= cell["value"] <= cell["high"] <= 0.14
        assert ranking.aggregate_ranking.sort("backbone")["p_first"].to_list() == (
            [1, 0] if sign == "turned" else [0, 1]
        )


def test_intervals_stay_within_the_metrics_bounds_and_centre_on_the_mean_of_all_seeds(tmp_path):
    file = tmp_path / "t.csv"
    values = {"a": (0.9, 0.99, 0.93), "b": (0.1,)}
    rows = [f"{b},knn@digits,accuracy,{v},{s}" for b, seeds in values.items() for s, v in enumerate(seeds)]
    file.write_text("\n".join(["backbone,task,metric,value,seed", *rows]))
    results = read_results([file])
    cells = rank_results(results, with_intervals=True).ranked.sort("backbone")
    assert cells["high"].to_list()[0] == 1.0
    assert cells["low"].to_list()[1] == 0.0
    assert gather(results).uncertainty.score_intervals().sort("backbone")["value"].to_list() == pytest.approx(
        [0.94, 0.1]
    )


def test_examples_are_resampled_where_a_backbone_lacks_a_seed(tmp_path):
    storage = fill(tmp_path / "s", tasks=("knn@digits",), backbones=("good",), seeds=(0, 1))
    fill(storage, tasks=("knn@digits",), backbones=("poor",), seeds=(0,), experiment="f")
    ranking = rank_results(read_results([storage]), with_intervals=True)
    assert (
        "resample test examples (the same draw for all backbones) and add noise" in ranking.uncertainty_note
    )
    assert "Seeds only" not in ranking.uncertainty_note


def test_under_another_condition_only_what_was_measured_there_is_resampled(tmp_path):
    # Clean accuracies are on disk per example; those under fog are numbers of the seeds, the other way round.
    storage = fill(tmp_path / "s", tasks=("knn@digits",), backbones=("good", "poor"))
    fog = tmp_path / "fog.csv"
    rows = [
        f"e,{b},knn@digits,accuracy,fog(severity=3),{v + s / 100},{s}"
        for b, v in (("good", 0.2), ("poor", 0.6))
        for s in (0, 1)
    ]
    fog.write_text("\n".join(["experiment,backbone,task,metric,condition,value,seed", *rows]))
    results = read_results([storage, fog])
    ranking = rank_results(results, Criterion(condition="fog(severity=3)"), with_intervals=True)
    assert "Seeds only" in ranking.uncertainty_note
    cells = {row["backbone"]: (row["low"], row["high"]) for row in ranking.ranked.iter_rows(named=True)}
    assert cells["good"] == pytest.approx(
        (0.205 - 0.0215, 0.205 + 0.0215), abs=0.005
    )  # t with 2 degrees, 0.975.
    assert cells["poor"] == pytest.approx((0.605 - 0.0215, 0.605 + 0.0215), abs=0.005)
    assert ranking.aggregate_ranking["backbone"].to_list() == ["poor", "good"]
    by_hand = replicate({"t": example_means([[[0.2], [0.21]], [[0.6], [0.61]]])}, ["good", "poor"])
    assert ranking_intervals(by_hand)["p_first"].to_list() == ranking.aggregate_ranking["p_first"].to_list()
    report_data = gather(results, Criterion(condition="fog(severity=3)"))
    assert report_data.ranking.condition == "fog(severity=3)"
    assert report_data.uncertainty.ranking_intervals()["backbone"].to_list() == ["poor", "good"]


def test_a_task_whose_seeds_agree_has_no_interval(tmp_path):
    file = tmp_path / "t.csv"
    rows = [f"{b},knn@digits,accuracy,{v},{s}" for b, v in (("a", 0.1), ("b", 0.3)) for s in (0, 1)]
    varied = [
        f"{b},finetune@digits,accuracy,{v + s / 10},{s}" for b, v in (("a", 0.1), ("b", 0.3)) for s in (0, 1)
    ]
    head = "backbone,task,metric,value,seed"
    file.write_text("\n".join([head, *rows, *varied]))
    ranking = rank_results(read_results([file]), with_intervals=True)
    exact = "Counted as exact, because all seeds agree and values per example are not stored: knn@digits"
    assert exact in ranking.uncertainty_note
    assert ranking.ranked.filter(task="knn@digits")["low"].null_count() == 2
    assert ranking.ranked.filter(task="finetune@digits")["low"].null_count() == 0
    file.write_text("\n".join([head, *rows]))
    alone = rank_results(read_results([file]), with_intervals=True)
    assert "No test examples are stored, and no seeds that differ" in alone.uncertainty_note
    assert "zscore_low" not in alone.aggregate_ranking.columns


def test_tasks_that_some_backbones_lack_are_named_in_the_uncertainty_note(tmp_path):
    results = read_results([fill(tmp_path, leave_out=("fair", "knn@digits"))])
    with pytest.raises(MissingMeasurementError):
        rank_results(results)
    ranking = rank_results(results, rule=RankingRule(missing="mean_of_rest"), with_intervals=True)
    assert "Without the tasks that not every backbone has: knn@digits" in ranking.uncertainty_note
    assert estimate_uncertainty(ranking.ranked, results).replicates.tasks == (
        "linear_probe@digits",
        "retrieval@shapes",
    )
    assert TASKS[0] in ranking.tasks


def test_a_report_takes_the_same_options(storage, tmp_path, capsys):
    output = tmp_path / "r.html"
    options = ["--task", "knn@digits", "--mean", "macro", "--deviation", "population"]
    assert main(["report", str(storage), "-o", str(output), *options]) == 0
    capsys.readouterr()
    page = output.read_text()
    assert "3 backbones on 1 tasks" in page
    command = (
        f"raybench report {storage} --experiment e --task knn@digits --deviation population --mean macro"
    )
    assert f"{command} -o report.html" in page
    assert "linear_probe@digits" not in page.partition("Spec of")[0]
