"""Published results: complete, equal to the source tables, and with the derived z-scores."""

import csv
from pathlib import Path

import polars as pl
import pytest

from raybench.analysis.zscores import add_task_columns, overall, rank_within_task, zscore_within_task
from raybench.catalog.published import published
from raybench.catalog.retrieval_datasets import PAPER_ROWS
from raybench.core.errors import UnknownNameError

TABLES = Path(__file__).parents[2] / "../shared/bob/tables"
RENAMED = {"inat": "inaturalist", "google_landmark": "google_landmarks_v2"}
"""The authors' names of datasets, in lower case, whose rows in our catalogue are called otherwise."""


@pytest.fixture(scope="module")
def tables() -> Path:
    if not TABLES.is_dir():
        pytest.skip("the paper's tables (../shared/bob/tables) are not on this machine")
    return TABLES


def task_of(dataset: str) -> str:
    name = dataset.lower()
    return f"retrieval@{RENAMED.get(name, name)}"


def test_its_tasks_are_datasets_of_the_catalogue():
    assert {row.task for row in published("bob").scores} == {f"retrieval@{row.name}" for row in PAPER_ROWS}


def test_the_retrieval_table_is_complete():
    scores = published("bob").scores
    assert len(scores) == 33 * 8 == len({(row.backbone, row.task) for row in scores})
    assert all(0 < row.value <= 1 for row in scores)


def test_the_retrieval_table_equals_its_source_to_the_last_digit(tables):
    with (tables / "retrieval_mrr.csv").open(encoding="utf-8") as file:
        rows = {(row["model"], task_of(row["dataset"])): float(row["value"]) for row in csv.DictReader(file)}
    assert rows == {(row.backbone, row.task): row.value for row in published("bob").scores}


def test_its_zscores_and_ranks_equal_the_derived_ones(tables):
    derived = pl.read_csv(tables / "retrieval_mrr_zscores_DERIVED.csv").rename({"model": "backbone"})
    scored = pl.DataFrame(published("bob").scores).pipe(zscore_within_task, ddof=0).pipe(rank_within_task)
    result = add_task_columns(overall(scored), scored, "zscore").join(derived, on="backbone")
    assert result.height == 33
    for column in [name for name in derived.columns if name.startswith("z_")]:
        task = task_of(column.removeprefix("z_"))
        assert result[task].to_list() == pytest.approx(result[column].to_list(), abs=5.1e-5)
    assert result["mean_zscore"].to_list() == pytest.approx(result["mean_z_all33"].to_list(), abs=5.1e-5)
    assert result["overall_rank"].to_list() == result["rank_all33"].to_list()


def test_every_scored_backbone_is_described_once():
    bob = published("bob")
    names = [row.backbone for row in bob.backbones]
    assert sorted(names) == sorted({row.backbone for row in bob.scores})
    assert {row.family for row in bob.backbones} == {"cnn", "transformer"}


def test_reported_numbers_state_their_certainty():
    bob = published("bob")
    assert [row.value for row in bob.scalars] == [0.58, 0.35, 0.72, 0.33, 0.8, 0.49, 0.8]
    assert all(row.certainty for row in (*bob.scalars, *bob.orders))
    best = [row.backbone for row in bob.orders if row.scope == "overall"]
    assert best == ["ConvNeXt-Base", "SwinV2-Base", "ViT-Base"]


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'bob'"):
        published("bop")


SOURCES = Path(__file__).parents[2] / "../shared/published"


@pytest.fixture(scope="module")
def sources() -> Path:
    if not SOURCES.is_dir():
        pytest.skip("the sources of the tables (../shared/published) are not on this machine")
    return SOURCES


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_timms_table_has_every_model_of_all_six_test_sets():
    timm = published("timm")
    assert len(timm.backbones) == 1265
    assert len(timm.scores) == 6 * 1265 == len({(row.backbone, row.task) for row in timm.scores})
    assert all(0 <= row.value <= 1 for row in timm.scores)
    assert {row.family for row in timm.backbones} <= {"cnn", "transformer", "hybrid", "unknown"}
    assert sum(row.family == "unknown" for row in timm.backbones) == 0


def test_timms_values_are_those_of_its_files(sources):
    measured = {
        (row["model"], round(float(row["top1"]) / 100, 5))
        for row in rows_of(sources / "timm" / "results-sketch.csv")
    }
    ours = {(r.backbone, r.value) for r in published("timm").scores if r.task.endswith("@imagenet_sketch")}
    assert len(ours) == 1265
    assert ours <= measured
    by_name = {row.backbone: row for row in published("timm").backbones}
    resnet = by_name["resnet50.a1_in1k"]
    [benchmark] = [
        row
        for row in rows_of(sources / "timm" / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv")
        if (row["model"], row["infer_img_size"]) == ("resnet50", "224")
    ]
    assert resnet.images_per_second["rtx4090"] == float(benchmark["infer_samples_per_sec"].replace(",", ""))
    assert resnet.flops_g == pytest.approx(2 * float(benchmark["infer_gmacs"]))
    assert (resnet.family, resnet.params_m) == ("cnn", 25.56)


def test_miebs_probes_are_those_of_its_file(sources):
    ours = {(row.backbone, row.task): row.value for row in published("mieb").scores}
    source = {
        (row["model"], f"linear_probe@{row['task'].removesuffix('Classification').lower()}"): float(
            row["main_score"]
        )
        for row in rows_of(sources / "mieb_image_only.csv")
        if row["kind"] == "probe"
    }
    assert ours == source
    assert len(source) == 48 * 22


def test_every_mapping_of_a_published_name_is_a_checkpoint_of_timm():
    import timm

    names = set(timm.list_pretrained())
    mapped = [row.timm for row in published("mieb").backbones if row.timm]
    assert len(mapped) == 27
    assert set(mapped) <= names
