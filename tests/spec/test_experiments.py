"""Every file in experiments/ states its question, command, cost and expected result, and parses."""

from pathlib import Path

import pytest

from raybench.catalog.retrieval_datasets import PAPER_ROWS
from raybench.spec import load_spec, make_plan

FILES = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))


def test_there_are_experiments():
    assert {"quickstart.yaml", "starter.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_starts_with_the_four_header_lines(file):
    lines = file.read_text().splitlines()
    for line, heading in zip(lines, ("# Question:", "# Run:", "# Cost:", "# Expect:"), strict=False):
        assert line.startswith(heading)
        assert line.removeprefix(heading).strip()
    assert f"raybench run experiments/{file.name}" in lines[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_parses_and_fits_one_screen(file):
    # Datasets that users must download themselves are absent here.
    spec = load_spec(file, needs_data=False)
    assert spec.name == file.stem
    assert make_plan(spec).pairs
    assert len(file.read_text().splitlines()) <= 50


def test_the_quickstart_is_deterministic_and_has_a_twin_for_every_backbone():
    spec = load_spec(next(file for file in FILES if file.name == "quickstart.yaml"))
    names = {info.name for info in spec.backbones}
    pretrained = {name for name in names if not name.endswith(".random")}
    assert {f"{name.partition('.')[0]}.random" for name in pretrained} <= names
    assert not any("order-dependent" in note for note in make_plan(spec).notes)


def test_the_papers_retrieval_plans_without_data_and_says_what_to_fetch(monkeypatch, tmp_path):
    monkeypatch.setenv("RAYBENCH_DATA", str(tmp_path))
    file = next(file for file in FILES if file.name == "retrieval_paper.yaml")
    plan = make_plan(load_spec(file, needs_data=False))
    assert plan.search_trials == 0
    assert {str(pair.task) for pair in plan.pairs} == {f"retrieval@{row.name}" for row in PAPER_ROWS}
    for row in PAPER_ROWS:
        assert any(f"dataset {row.name!r} is not in" in note for note in plan.notes)
