"""`raybench recommend`: by hand on a CSV, on measured costs, on the published table, and refused."""

import json
from dataclasses import replace

import pytest

from raybench.cli import main
from raybench.core.errors import MissingMeasurementError, UnknownNameError
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.limits import Limits
from raybench.report.gather.recommendation import recommend_from
from raybench.report.gather.sources import read_results
from raybench.report.render.recommendation_text import recommendation_text
from raybench.store.inference_costs import write_cost
from tests.report.results_on_disk import SKILLS, fill
from tests.store.test_inference_costs import COST

TABLE = """backbone,task,metric,value,params_m,images_per_second
big,knn@digits,accuracy,0.9,90,100
mid,knn@digits,accuracy,0.7,30,400
small,knn@digits,accuracy,0.5,20,350
odd,knn@digits,accuracy,0.8,,500
"""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(TABLE)
    return file


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Measured by two seeds, with predictions."""
    return fill(tmp_path_factory.mktemp("storage"))


def recommended(capsys, *arguments):
    assert main(["recommend", *map(str, arguments), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_backbones_within_the_limits_are_listed_by_score(table, capsys):
    content = recommended(capsys, table, "--max-params", 30, "--min-throughput", 200)
    assert [row["backbone"] for row in content["recommended"]] == ["mid", "small"]
    assert content["limits"] == {"at_most": {"params_m": 30.0}, "at_least": {"images_per_second": 200.0}}
    best = content["recommended"][0]
    assert best["reason"] == (
        "best of 2 by mean z-score -0.15; size 30 M parameters (at most 30), "
        "throughput 400 images/s (at least 200)"
    )
    assert "whether it truly beats small is not known" in best["doubt"]
    assert best["p_best"] is None
    assert "Left out, because size is not known: odd." in content["notes"]
    assert "Not known here of any backbone: latency, memory, FLOPs." in content["notes"]


def test_limits_do_not_change_z_scores(table, capsys):
    everyone = {
        r["backbone"]: r["mean_zscore"] for r in recommended(capsys, table, "--top", 9)["recommended"]
    }
    assert list(everyone) == ["big", "odd", "mid", "small"]
    few = recommended(capsys, table, "--max-params", 30)["recommended"]
    assert {row["backbone"]: row["mean_zscore"] for row in few} == {n: everyone[n] for n in ("mid", "small")}


def test_if_no_backbone_fits_each_limit_says_how_many_it_excludes(table, capsys):
    assert main(["recommend", str(table), "--max-params", "20", "--min-throughput", "400"]) == 2
    assert capsys.readouterr().err == (
        "raybench: no backbone meets all limits: of 4, size at most 20 M parameters excludes 3 (1 because it "
        "is not known), throughput at least 400 images/s excludes 2; loosen the first one first.\n"
    )


def test_a_limit_on_an_unknown_quantity_is_refused_with_the_remedy(table, storage):
    with pytest.raises(MissingMeasurementError, match=r"FLOPs is not known of any .*leave that limit out"):
        recommend_from(read_results([table]), Limits(at_most={"flops_g": 4}))
    with pytest.raises(MissingMeasurementError, match="`raybench cost STORAGE` measures"):
        recommend_from(read_results([storage]), Limits(at_least={"images_per_second": 4}))


def test_the_probability_of_being_best_is_among_backbones_within_the_limits(storage, capsys):
    everyone = recommended(capsys, storage, "--top", 3)["recommended"]
    assert [row["backbone"] for row in everyone] == ["good", "fair", "poor"]
    assert everyone[0]["p_best"] == 1.0
    assert everyone[0]["doubt"] == "beats fair in 100 % of bootstrap replicates"
    small = recommended(capsys, storage, "--max-params", 7)["recommended"]
    assert [row["backbone"] for row in small] == ["fair", "poor"]
    assert [row["p_best"] for row in small] == [1.0, 0.0]


def test_measured_inference_costs_can_be_limited(tmp_path, capsys):
    storage = fill(tmp_path)
    speeds = {"good": 100.0, "fair": 300.0, "poor": 900.0}
    for name in SKILLS:
        # All of fill's backbones share a checkpoint; a cost belongs to a checkpoint and an input size.
        origin = {"checkpoint_digest": name, "preprocessing": {"input_size": 32}, "num_params": 5_000_000}
        for file in (storage / "measurements" / "e").glob(f"{name}-*.parquet"):
            _with_origin(file, origin)
        cost = replace(COST, backbone=name, checkpoint_digest=name, images_per_second=speeds[name])
        write_cost(storage, replace(cost, input_size=32))
    content = recommended(capsys, storage, "--min-throughput", 200)
    assert [row["backbone"] for row in content["recommended"]] == ["fair", "poor"]
    assert any("Costs were measured on Abacus" in note for note in content["notes"])


def _with_origin(file, origin):
    import polars as pl

    metadata = {"raybench.schema": pl.read_parquet_metadata(file)["raybench.schema"]}
    frame = pl.read_parquet(file).with_columns(provenance=pl.lit(json.dumps(origin)))
    frame.write_parquet(file, metadata=metadata)


def test_only_selected_tasks_count(storage, capsys):
    content = recommended(capsys, storage, "--task", "knn@*")
    assert list(content["tasks"]) == ["knn@digits"]
    assert main(["recommend", str(storage), "--task", "knn@digit"]) == 2
    assert "did you mean 'knn@digits'" in capsys.readouterr().err


def test_the_published_table_gives_a_recommendation_and_lists_unknown_quantities(capsys):
    content = recommended(capsys, "published:bob", "--max-params", 30)
    # Of the backbones below 30 M, as test_standing finds by `rank_within_size`.
    assert content["recommended"][0]["backbone"] == "timm-vit_small_patch16_224_dino"
    assert content["recommended"][0]["p_best"] is None
    assert any("there is no interval" in note for note in content["notes"])
    assert "Not known here of any backbone: throughput, latency, memory, FLOPs." in content["notes"]
    assert any("sscd-resnet50_disc" in note for note in content["notes"])
    one = recommended(capsys, "published:bob", "--task", "retrieval@cub200", "--top", 1)
    assert "among all 33 backbones" in one["notes"][0]


@pytest.mark.parametrize("output_format", ["table", "markdown"])
def test_text_formats_show_a_table_reasons_and_certainty(storage, output_format):
    recommendation = recommend_from(read_results([storage]), Limits(at_most={"params_m": 8}), Criterion())
    text = recommendation_text(recommendation, output_format=output_format)
    assert "with size at most 8 M parameters" in text
    assert "P(best)" in text
    assert "beats poor in 100 % of bootstrap replicates" in text
    assert "Intervals hold 95 %" in text
    assert "good" not in text


def test_an_unknown_format_is_refused(storage):
    recommendation = recommend_from(read_results([storage]), Limits())
    with pytest.raises(UnknownNameError, match="did you mean 'table'"):
        recommendation_text(recommendation, output_format="tabel")


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "much"])
def test_a_limit_is_a_number_above_zero(capsys, value):
    with pytest.raises(SystemExit):
        main(["recommend", "published:bob", f"--max-params={value}"])
    assert f"must be a number above 0, got '{value}'" in capsys.readouterr().err
