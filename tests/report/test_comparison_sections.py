"""The sections that hold size, architecture or dataset equal, and effective robustness: table to page."""

import io

import polars as pl
import pytest

from raybench.report.document import report_html
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.sources import read_results

from .results_on_disk import tables_of

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


def test_the_best_below_a_size_keeps_its_rank_of_all(page):
    tier = read(page, "size_tiers").filter(max_params_m=30).sort("rank_in_tier")
    assert tier["backbone"].to_list() == ["resnet50.c", "resnet50.b", "resnet50.a"]
    assert tier["rank_of_all"].to_list() == [2, 3, 4]
    assert "at most 30 M: resnet50.c (number 2 of all)" in page


def test_one_architecture_is_compared_where_data_are_alike(page):
    found = read(page, "apples_to_apples")
    assert found["backbone"].to_list() == ["resnet50.b", "resnet50.a"]  # 400 times the data is another story.
    assert found["method"].to_list() == ["dino", "supervised"]


def test_what_fine_tuning_gains_is_said_by_family(page):
    assert read(page, "protocols_compared")["gain"].to_list() == pytest.approx([0.05] * 4)
    assert "cnn +5.0 points and +0.0 places over 3 pairs" in page


def test_a_metric_that_is_better_when_low_is_named_and_turns_the_caption(tmp_path):
    file = tmp_path / "t.csv"
    rows = [
        f"{name},{protocol}@digits,nll,{value + step},cnn"
        for name, value in (("a", 1.5), ("b", 1.7))
        for protocol, step in (("linear_probe", 0.0), ("finetune", -0.25))
    ]
    file.write_text("\n".join(["backbone,task,metric,value,family", *rows]))
    found = report_html(read_results([file]), criterion=Criterion(metric="nll"))
    assert "in nll and in rank: cnn -0.250 nll and" in found
    assert "Below the dashed line fine-tuning is better" in found


def test_who_loses_more_under_fog_than_its_accuracy_promises_is_less_robust(page):
    found = read(page, "effective_robustness").sort("effective_robustness")
    assert found["backbone"][0] == "resnet50.b"
    assert found["effective_robustness"][0] < -0.03
    assert set(found["condition"]) == {"fog(severities=1+3)"}


def test_the_decision_names_the_best_of_other_families_and_of_half_the_size(page):
    decision = page.partition('id="decision"')[2].partition("</section>")[0]
    assert "vit_large.a is first of 4 backbones" in decision
    assert "best cnn: resnet50.c (number 2 of all)" in decision
    assert "best of at most half its size (303 M): resnet50.c (number 2 of all, 23.5 M)" in decision


def test_where_no_limit_of_size_parts_them_the_sizes_are_said(tmp_path):
    file = tmp_path / "t.csv"
    rows = [f"{name},knn@digits,accuracy,{value},5" for name, value in (("a", 0.5), ("b", 0.6))]
    file.write_text("\n".join(["backbone,task,metric,value,params_m", *rows]))
    assert "all known sizes lie between 5 and 5 M" in report_html(read_results([file]))
