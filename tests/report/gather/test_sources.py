"""Several sources as one table: merged with provenance, contradictions refused or decided and reported."""

import json

import polars as pl
import pytest

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.catalog.published import published
from raybench.cli import main
from raybench.core.errors import DuplicateMeasurementError, EmptyInputError, UnknownNameError
from raybench.report.gather.published_tables import compare_with_published
from raybench.report.gather.shifted_accuracy import shifted_accuracies
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text
from raybench.store.measurements import read_measurements
from tests.report.results_on_disk import fill


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same pairs with other values."""
    return fill(tmp_path_factory.mktemp("other"), num_examples=30)


def test_one_storage_is_its_own_table(storage):
    results = read_results([storage])
    assert results.measurements.equals(read_measurements(storage))
    assert results.experiments == ["e"]
    assert results.expected.height == 9


def test_two_parts_of_the_results_rank_as_the_whole(tmp_path, storage):
    whole = read_measurements(storage)
    fill(tmp_path / "lab", tasks=("knn@digits",), experiment="lab")
    first = fill(tmp_path / "one", tasks=("knn@digits",))
    second = tmp_path / "two.csv"
    whole.filter(whole["task"] != "knn@digits").write_csv(second)
    merged = read_results([first, second])
    assert merged.measurements["source"].unique().sort().to_list() == sorted([str(first), str(second)])
    assert merged.measurements.height == whole.height
    assert rank_text(merged).splitlines()[2:] != []
    assert json.loads(rank_text(merged, output_format="json"))["sources"] == [str(first), str(second)]


def test_equal_measurements_of_two_sources_count_once(tmp_path, storage):
    again = fill(tmp_path)
    merged = read_results([storage, again])
    assert merged.measurements["sources"].to_list() == [[str(storage), str(again)]] * 18
    assert rank_text(merged, output_format="csv") == rank_text(read_results([storage]), output_format="csv")
    assert merged.conflicts.is_empty()


def test_a_contradiction_is_refused_unless_a_source_is_preferred(storage, other, capsys):
    with pytest.raises(DuplicateMeasurementError, match="say which source to prefer"):
        read_results([storage, other])
    assert main(["rank", str(storage), str(other), "--prefer", str(storage), "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    alone = json.loads(rank_text(read_results([storage]), output_format="json"))
    assert content["ranking"] == alone["ranking"]
    kept = [row for row in content["conflicts"] if row["is_kept"]]
    assert kept
    assert {source for row in kept for source in row["sources"]} == {str(storage)}
    assert main(["rank", str(storage), str(other), "--prefer", str(storage)]) == 0
    assert "the preferred source decided" in capsys.readouterr().out


def test_a_preferred_source_that_was_not_named_is_refused(storage, other):
    with pytest.raises(EmptyInputError, match="no source 'x' to prefer"):
        read_results([storage, other], prefer=["x"])
    with pytest.raises(EmptyInputError, match="no source 'x' to prefer"):
        read_results([storage], prefer=["x"])


def test_an_experiment_is_searched_in_every_source(tmp_path, storage):
    lab = fill(tmp_path, experiment="lab")
    assert read_results([storage, lab], experiment="lab").experiments == ["lab"]
    with pytest.raises(UnknownNameError, match=r"'labb' in .*did you mean 'lab'.* They hold e, lab"):
        read_results([storage, lab], experiment="labb")


def test_a_published_table_among_other_sources_is_compared_and_never_merged(storage):
    results = read_results(["published:bob", storage])
    assert results.measurements.equals(read_measurements(storage))
    assert [paper.name for paper in results.reference_tables] == ["bob"]
    assert results.names == [str(storage)]


def test_shared_backbones_and_tasks_are_compared_with_the_published_table(tmp_path, capsys):
    paper = published("bob")
    timm = {b.backbone: b.timm for b in paper.backbones}
    shared = ("timm-resnet50", "timm-convnext_base", "timm-vit_base_patch16_224_dino")
    cells = [s for s in paper.scores if s.backbone in shared and s.task == "retrieval@cub200"]
    file = tmp_path / "own.csv"
    lines = [f"{timm[s.backbone]},{s.task},mrr,{1 - s.value}" for s in cells]  # The reversed order.
    file.write_text("\n".join(["backbone,task,metric,value", *lines, "mine,retrieval@cub200,mrr,0.99"]))
    assert main(["rank", str(file), "published:bob", "--metric", "mrr", "--format", "json"]) == 0
    (comparison,) = json.loads(capsys.readouterr().out)["beside"]
    order = [row["published_as"] for row in comparison["backbones"]]
    assert order == sorted(shared, key=lambda name: next(s.value for s in cells if s.backbone == name))
    assert {row["backbone"]: row["there"] for row in comparison["values"]} == {
        timm[s.backbone]: pytest.approx(s.value) for s in cells
    }
    assert main(["rank", str(file), "published:bob", "--metric", "mrr"]) == 0
    text = capsys.readouterr().out
    assert "3 backbones are also in the table of Goldblum" in text
    assert "retrieval@cub200" in text


def test_repeated_measurements_count_once_in_comparisons_and_under_shifts():
    paper = published("bob")
    name = next(b.timm for b in paper.backbones if b.backbone == "timm-resnet50")
    measured = [("one", 0, 0.5), ("one", 1, 0.8), ("two", 1, 0.8)]
    rows = [(experiment, name, seed, "clean", value) for experiment, seed, value in measured]
    rows += [(experiment, name, seed, "shift(v2)", value - 0.3) for experiment, seed, value in measured]
    names = ["experiment", "backbone", "seed", "condition", "value"]
    table = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        task=pl.lit("retrieval@cub200"), metric=pl.lit("mrr"), split=pl.lit("test")
    )
    overall = pl.DataFrame({"backbone": [name], "mean_zscore": [0.0]})
    comparison = compare_with_published(overall, table, paper, RankingRule())
    assert comparison.values["here"].to_list() == [pytest.approx(0.65)]
    (shifted,) = shifted_accuracies(
        table.with_columns(metric=pl.lit("accuracy")), ["retrieval@cub200"]
    ).to_dicts()
    assert (shifted["clean"], shifted["shifted"]) == (pytest.approx(0.65), pytest.approx(0.35))


def test_a_table_without_a_shared_backbone_says_so(storage, capsys):
    assert main(["rank", str(storage), "published:bob"]) == 0
    assert "No backbone here is in the table of Goldblum" in capsys.readouterr().out


def test_backbones_without_pretraining_are_known_by_spec_or_name(tmp_path):
    file = tmp_path / "t.csv"
    lines = [
        "a,knn@digits,accuracy,0.5,none",
        "b.random,knn@digits,accuracy,0.5,",
        "c,knn@digits,accuracy,1,mae",
    ]
    file.write_text("\n".join(["backbone,task,metric,value,method", *lines]))
    assert read_results([file]).random_init == ("a", "b.random")
