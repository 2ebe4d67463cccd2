"""A report of many backbones and tasks: charts are cut, tables are complete, the page stays small."""

import re

import pytest

from raybench.cli import main
from tests.end_to_end.browser import chromium, open_page

from .results_on_disk import tables_of


def write_table(file, num_backbones, num_tasks, num_seeds):
    """A CSV table of made-up accuracies, in which later backbones are better."""
    lines = ["backbone,task,metric,value,seed,params_m"]
    for backbone in range(num_backbones):
        for task in range(num_tasks):
            for seed in range(num_seeds):
                value = 0.5 + 0.4 * backbone / num_backbones + 0.001 * ((7 * backbone + 3 * task + seed) % 11)
                name = f"vit_number_{backbone:03d}_patch16_224.tag"
                lines.append(f"{name},knn@dataset{task:03d},accuracy,{value:.4f},{seed},{1 + backbone}")
    file.write_text("\n".join(lines) + "\n")
    return file


def report(table, output):
    assert main(["report", str(table), "-o", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def test_more_than_5000_cells_are_reported_with_cut_charts_and_complete_tables(tmp_path):
    page = report(write_table(tmp_path / "many.csv", 73, 70, 1), tmp_path / "report.html")
    assert "z-scores; blue is better. Shown: the first 60 of 73 backbones. Shown: the first 40 of 70" in page
    assert len(tables_of(page)["ranking.csv"].splitlines()) == 1 + 73
    assert len(page) < 5_000_000


def test_more_than_5000_comparisons_of_two_backbones_are_reported_with_a_cut_matrix(tmp_path):
    page = report(write_table(tmp_path / "many.csv", 73, 3, 2), tmp_path / "report.html")
    assert "P(row beats column) in mean z-score. Shown: the first 40 of 73 backbones." in page
    assert len(tables_of(page)["win_probabilities.csv"].splitlines()) == 1 + 73 * 72


@pytest.mark.slow
def test_500_backbones_on_100_tasks_have_a_page_that_a_browser_shows(tmp_path):
    output = tmp_path / "report.html"
    page = report(write_table(tmp_path / "huge.csv", 500, 100, 2), output)
    assert len(page) < 12_000_000
    assert re.search(r'<a download="win_probabilities.csv.gz"', page)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        open_page(tab, f"file://{output}", "first of 500 backbones over 100 tasks", "Provenance")
        assert tab.evaluate("document.documentElement.scrollWidth") == 1200
        assert tab.locator("#scores .wide svg rect, #scores .wide svg path").count() > 60 * 40
        assert tab.locator("#ranking tbody tr").count() == 60
