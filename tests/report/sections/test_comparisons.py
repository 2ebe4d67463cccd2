"""Sections that compare backbones at equal size, architecture or dataset, and effective robustness."""

import io

import polars as pl
import pytest

from raybench.report.document import report_html
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.sources import read_results
from tests.report.results_on_disk import tables_of

BACKBONES = {
    "resnet50.a": ("cnn", "supervised", 23.5, 1_000_000, 0.60),
    "resnet50.b": ("cnn", "dino", 23.5, 1_200_000, 0.70),
    "resnet50.c": ("cnn", "clip", 23.5, 400_000_000, 0.75),
    "vit_large.a": ("transformer", "mae", 303.0, 1_000_000, 0.80),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Fine-tuning gives 5 points, fog takes 20, and 30 of resnet50.b."""
    lines = ["backbone,task,metric,value,condition,family,method,params_m,pretrain_images"]
    for name, (family, method, params_m, images, accuracy) in BACKBONES.items():
        facts = f"{family},{method},{params_m},{images}"
        fog = accuracy - (0.3 if name == "resnet50.b" else 0.2)
        lines += [
            f"{name},linear_probe@digits,accuracy,{accuracy},clean,{facts}",
            f"{name},finetune@digits,accuracy,{accuracy + 0.05},clean,{facts}",
            f"{name},linear_probe@digits,corruption_accuracy,{fog},fog(severities=1+3),{facts}",
        ]
    file = tmp_path_factory.mktemp("tables") / "t.csv"
    file.write_text("\n".join(lines))
    return report_html(read_results([file]))


def read(page, name):
    return pl.read_csv(io.StringIO(tables_of(page)[f"{name}.csv"]))


def test_the_best_within_a_size_limit_keeps_its_overall_rank(page):
    tier = read(page, "size_tiers").filter(max_params_m=30).sort("rank_in_tier")
    assert tier["backbone"].to_list() == ["resnet50.c", "resnet50.b", "resnet50.a"]
    assert tier["rank_of_all"].to_list() == [2, 3, 4]
    assert "at most 30 M: resnet50.c (rank 2 overall)" in page


def test_only_comparable_pretraining_sets_are_compared_for_one_architecture(page):
    table = read(page, "apples_to_apples")
    assert table["backbone"].to_list() == ["resnet50.b", "resnet50.a"]  # 400 times the data is another story.
    assert table["method"].to_list() == ["dino", "supervised"]


def test_the_gain_from_fine_tuning_is_reported_by_family(page):
    assert read(page, "protocols_compared")["gain"].to_list() == pytest.approx([0.05] * 4)
    assert "cnn +5.0 points and +0.0 ranks over 3 pairs" in page


def test_the_caption_follows_the_metrics_direction(tmp_path):
    file = tmp_path / "t.csv"
    rows = [
        f"{name},{protocol}@digits,nll,{value + step},cnn"
        for name, value in (("a", 1.5), ("b", 1.7))
        for protocol, step in (("linear_probe", 0.0), ("finetune", -0.25))
    ]
    file.write_text("\n".join(["backbone,task,metric,value,family", *rows]))
    page = report_html(read_results([file]), criterion=Criterion(metric="nll"))
    assert "in nll and in rank: cnn -0.250 nll and" in page
    assert "Below the dashed line fine-tuning is better" in page


def test_a_larger_loss_under_fog_than_accuracy_predicts_is_negative_effective_robustness(page):
    table = read(page, "effective_robustness").sort("effective_robustness")
    assert table["backbone"][0] == "resnet50.b"
    assert table["effective_robustness"][0] < -0.03
    assert set(table["condition"]) == {"fog(severities=1+3)"}


def test_the_decision_names_the_best_of_other_families_and_of_half_the_size(page):
    decision = page.partition('id="decision"')[2].partition("</section>")[0]
    assert "vit_large.a is first of 4 backbones" in decision
    assert "best cnn: resnet50.c (rank 2 overall)" in decision
    assert "best of at most half its size (303 M): resnet50.c (rank 2 overall, 23.5 M)" in decision


def test_sizes_are_reported_where_no_limit_separates_the_backbones(tmp_path):
    file = tmp_path / "t.csv"
    rows = [f"{name},knn@digits,accuracy,{value},5" for name, value in (("a", 0.5), ("b", 0.6))]
    file.write_text("\n".join(["backbone,task,metric,value,params_m", *rows]))
    assert "all sizes lie between 5 and 5 M" in report_html(read_results([file]))
