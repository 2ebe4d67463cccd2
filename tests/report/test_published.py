"""The paper's retrieval table, ranked out of the box."""

import json
from pathlib import Path

import polars as pl
import pytest

from raybench.cli import main
from raybench.core.errors import UnknownNameError
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text


def rank_published(address, **options):
    return rank_text(read_results([address]), **options)


DERIVED = Path(__file__).parents[3] / "shared/bob/tables/retrieval_mrr_zscores_DERIVED.csv"


def test_every_backbone_of_the_table_is_ranked_and_the_text_is_quoted():
    text = rank_published("published:bob")
    assert "33 backbones on 8 tasks" in text
    assert "spearman(zscore, params)" in text
    assert "verified" in text


def test_the_command_line_knows_it(capsys):
    assert main(["rank", "published:bob", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert len(content["ranking"]) == 33
    assert content["ranking"][0]["overall_rank"] == 1


def test_dividing_by_n_stretches_every_z_score_by_one_factor(capsys):
    zscores = []
    for deviation in ("sample", "population"):
        assert main(["rank", "published:bob", "--format", "csv", "--deviation", deviation]) == 0
        zscores.append(pl.read_csv(capsys.readouterr().out.encode()).sort("backbone")["mean_zscore"])
    assert zscores[1].to_list() == pytest.approx((zscores[0] * (33 / 32) ** 0.5).to_list(), abs=1e-11)


def test_another_paper_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'bob'"):
        rank_published("published:bobs")


@pytest.mark.skipif(not DERIVED.is_file(), reason="needs the derived table of ../shared/bob")
def test_the_order_is_that_of_the_derived_z_scores():
    derived = pl.read_csv(DERIVED)
    found = pl.read_csv(rank_published("published:bob", output_format="csv").encode())
    zscore = next(name for name in derived.columns if "mean" in name.lower() or "avg" in name.lower())
    name = derived.columns[0] if derived.schema[derived.columns[0]] == pl.String else "backbone"
    expected = derived.sort(zscore, descending=True)[name].to_list()
    assert found["backbone"].to_list()[:10] == expected[:10]
