"""The paper's retrieval table, ranked out of the box."""

import json

import numpy as np
import polars as pl
import pytest

from raybench.catalog.published import published
from raybench.cli import main
from raybench.core.errors import UnknownNameError
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text


def rank_published(address, **options):
    return rank_text(read_results([address]), **options)


def test_every_backbone_of_the_table_is_ranked_and_reported_numbers_are_listed():
    text = rank_published("published:bob")
    assert "33 backbones on 8 tasks" in text
    assert "spearman(zscore, params)" in text
    assert "verified" in text


def test_the_command_line_ranks_it(capsys):
    assert main(["rank", "published:bob", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert len(content["ranking"]) == 33
    assert content["ranking"][0]["overall_rank"] == 1


def test_the_population_deviation_scales_every_z_score_by_one_factor(capsys):
    zscores = []
    for deviation in ("sample", "population"):
        assert main(["rank", "published:bob", "--format", "csv", "--deviation", deviation]) == 0
        zscores.append(pl.read_csv(capsys.readouterr().out.encode()).sort("backbone")["mean_zscore"])
    assert zscores[1].to_list() == pytest.approx((zscores[0] * (33 / 32) ** 0.5).to_list(), abs=1e-11)


def test_another_paper_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'bob'"):
        rank_published("published:bobs")


def test_z_scores_and_order_are_those_of_an_independent_computation():
    scores = published("bob").scores
    backbones, tasks = (sorted({getattr(s, name) for s in scores}) for name in ("backbone", "task"))
    values = {(s.backbone, s.task): s.value for s in scores}
    table = np.array([[values[backbone, task] for task in tasks] for backbone in backbones])
    mean_zscores = ((table - table.mean(axis=0)) / table.std(axis=0, ddof=1)).mean(axis=1)
    expected = dict(zip(backbones, mean_zscores, strict=True))
    ranking = pl.read_csv(rank_published("published:bob", output_format="csv").encode())
    assert dict(ranking.select("backbone", "mean_zscore").iter_rows()) == pytest.approx(expected)
    assert ranking["backbone"].to_list() == sorted(expected, key=lambda name: -expected[name])
