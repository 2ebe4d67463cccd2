"""`raybench report`: one self-contained page, whose numbers are those of the analysis."""

import io
import re
from html.parser import HTMLParser
from itertools import product

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raybench.analysis.aggregate_ranking import RankingRule, compare_rules
from raybench.analysis.intervals import ranking_intervals, win_probabilities
from raybench.analysis.tuning_curves import gain_over_defaults
from raybench.cli import main
from raybench.core.errors import DuplicateMeasurementError, EmptyInputError, MissingMeasurementError
from raybench.experiment.summary import summary_files
from raybench.report.document import entries
from raybench.report.document import report_html as report_of
from raybench.report.gather.ranking import rank_results
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from tests.end_to_end.browser import chromium, open_page

from .results_on_disk import SKILLS, fill, tables_of


def report_html(addresses, *, allow_missing=False):
    rule = RankingRule(missing="mean_of_rest" if allow_missing else "refuse")
    return report_of(read_results(addresses), rule=rule)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def page(storage):
    return report_html([storage])


@pytest.fixture(scope="module")
def report_data(storage):
    return gather(read_results([storage]))


VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class Outline(HTMLParser):
    """Ids, heading levels, addresses, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.headings, self.addresses, self.open, self.figures = [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if "id" in values:
            self.ids.append(values["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.addresses += [values[name] for name in ("href", "src") if name in values]
        if values.get("role") == "img":
            self.figures.append(values.get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page, name):
    return pl.read_csv(io.StringIO(tables_of(page)[f"{name}.csv"]))


def test_every_section_has_its_heading_and_is_linked(page):
    outline = Outline(page)
    assert {anchor for anchor, _, _ in entries()} <= set(outline.ids)
    linked = [address.removeprefix("#") for address in outline.addresses if address.startswith("#")]
    assert linked[0] == "main"
    assert set(linked) <= set(outline.ids)
    assert outline.headings == [1, *[2] * len(linked[1:])]


def test_empty_sections_are_listed_at_the_end_with_their_reasons(page):
    reasons = page.partition("Not shown</h2>")[2]
    assert '<dt id="protocols">Linear probe or fine-tuning?</dt>' in reasons
    assert "no backbone has both &#39;linear_probe&#39; and &#39;finetune&#39;" in reasons
    assert "#protocols" not in Outline(page).addresses


def test_tags_are_balanced_and_ids_unique(page):
    outline = Outline(page)
    assert not outline.open
    svg_free = [name for name in outline.ids if not name.startswith(("clip", "gradient"))]
    assert len(svg_free) == len(set(svg_free))


def test_the_page_has_no_script_and_no_external_address(page):
    assert all(address.startswith(("#", "data:")) for address in Outline(page).addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!['\"]?#)", page)


def test_every_drawing_has_a_description(page):
    figures = Outline(page).figures
    assert len(figures) >= 7
    assert all(figures)
    for width in ("wide", "narrow"):
        assert page.count(f'<div class="{width}" aria-hidden="true"><svg') == len(figures)
    assert page.count("<svg") == 2 * len(figures)


def test_the_ranking_is_that_of_the_command_rank(page, storage):
    expected = rank_results(read_results([storage])).aggregate_ranking
    table = read(page, "ranking")
    assert_frame_equal(table.select(expected.columns), expected, check_dtypes=False)


def test_intervals_are_those_of_the_bootstrap(page, report_data):
    intervals = ranking_intervals(report_data.uncertainty.replicates)
    columns = ["backbone", "zscore_low", "zscore_high", "rank_low", "rank_high", "p_first", "p_top"]
    assert_frame_equal(read(page, "ranking").select(columns), intervals.select(columns), check_dtypes=False)
    assert f"P(good is best) = {intervals['p_first'][0]:.2f}" in page
    assert_frame_equal(read(page, "win_probabilities"), win_probabilities(report_data.uncertainty.replicates))


def test_the_bootstrap_resamples_examples_whose_mean_is_the_score(report_data):
    measured = report_data.uncertainty.replicates.estimates
    wide = report_data.scores.sort("backbone", "task")["value"].to_numpy().reshape(measured.shape)
    assert measured == pytest.approx(wide)
    assert "Seeds only" not in report_data.uncertainty.note


def test_tables_equal_the_analysis(page, report_data):
    table = read(page, "gain_over_defaults")
    assert_frame_equal(table, gain_over_defaults(report_data.search.trials), check_dtypes=False)
    assert table["gain"].to_list() == pytest.approx([0.04] * 9)
    assert_frame_equal(
        read(page, "rules_compared"), compare_rules(report_data.complete_scores), check_dtypes=False
    )


def test_the_best_and_a_smaller_backbone_are_on_the_pareto_front(page):
    front = read(page, "pareto_params_m")
    assert dict(front.select("backbone", "on_front").iter_rows()) == {
        "good": True,
        "fair": True,
        "poor": False,
    }
    assert "good is first of 3 backbones over 3 tasks" in page


def test_the_same_results_give_the_same_page(storage, page):
    assert report_html([storage]) == page


def test_warnings_of_evaluators_are_quoted_with_markup_escaped(page):
    assert "few &lt;b&gt;" in page
    assert "few <b>" not in page


def test_without_stored_examples_seeds_are_resampled(tmp_path):
    page = report_html([fill(tmp_path, keeps_examples=False)])
    assert "Seeds only, because values per example are not stored: knn@digits" in page


def test_without_examples_and_seeds_the_page_says_why_there_is_no_interval(tmp_path):
    page = report_html([fill(tmp_path, keeps_examples=False, seeds=(0,))])
    assert "so no interval can be given" in page
    assert "zscore_low" not in tables_of(page)["ranking.csv"]


def test_too_few_tasks_are_reported_instead_of_an_empty_plot(tmp_path):
    page = report_html([fill(tmp_path, tasks=("knn@digits",))])
    assert "a critical-difference diagram needs 3 tasks or more, there are 1" in page
    assert "the stability of a ranking needs two tasks or more, got one" in page
    assert "correlation needs 2 tasks and 3 backbones or more" in page


def test_evaluators_that_measured_nothing_are_listed(page):
    assert "<dd>the evaluator `adversarial` has measured nothing here.</dd>" in page
    assert "throughput, FLOPs and memory were not measured" in page


def test_an_incomplete_table_is_refused_or_marked(tmp_path):
    fill(tmp_path, leave_out=("fair", "knn@digits"))
    with pytest.raises(MissingMeasurementError, match="'fair' on 'knn@digits'"):
        report_html([tmp_path])
    page = report_html([tmp_path], allow_missing=True)
    assert "This ranking is incomplete" in page
    assert "no score: fair on knn@digits" in page


def test_storages_are_merged_and_contradictions_refused(tmp_path, storage, page):
    again = fill(tmp_path / "again")
    merged = report_html([storage, again])
    assert tables_of(merged)["ranking.csv"] == tables_of(page)["ranking.csv"]
    other = fill(tmp_path / "other", num_examples=30)
    with pytest.raises(DuplicateMeasurementError):
        report_html([storage, other])


def test_a_published_table_has_its_page_with_references_and_no_interval():
    page = report_html(["published:bob"])
    assert read(page, "ranking").height == 33
    assert "there is no interval" in page
    references = read(page, "references")
    assert references.filter(quantity="spearman(zscore, params)", of="ViTs")["paper"].item() == 0.58
    assert set(references["certainty"]) >= {"verified"}


def test_an_empty_storage_is_refused(tmp_path):
    with pytest.raises(EmptyInputError, match="nothing is measured"):
        report_html([tmp_path])


def test_the_command_writes_the_file(storage, page, tmp_path, capsys):
    output = tmp_path / "report.html"
    assert main(["report", str(storage), "-o", str(output)]) == 0
    assert output.read_text(encoding="utf-8") == page
    assert str(output) in capsys.readouterr().out
    assert output.stat().st_size < 3_000_000


PROBE = """<meta http-equiv="Content-Security-Policy"
content="default-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>
const messages = [];
addEventListener("error", (e) => messages.push("error " + e.message), true);
addEventListener("securitypolicyviolation", (e) => messages.push("blocked " + e.blockedURI));
console.error = (...words) => messages.push("console " + words.join(" "));
function problems() {
  const fetched = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:"));
  const wide = document.documentElement.scrollWidth - innerWidth;
  const overflow = wide > 0 ? ["overflow " + wide] : [];
  return [...messages, ...fetched.map((e) => "fetched " + e.name), ...overflow];
}
function colours() {
  const style = getComputedStyle(document.body);
  return style.color + " on " + style.backgroundColor;
}
function unreachable() {
  const beyond = [...document.querySelectorAll(".scroll, pre")].filter((e) => e.scrollWidth > e.clientWidth);
  return beyond.filter((e) => e.tabIndex < 0).length;
}
</script>"""
"""Policy and script added to the page: which problems the browser reports, and what cannot be reached."""


@pytest.mark.slow
def test_the_page_fits_phone_and_desktop_in_light_and_dark_and_loads_nothing(page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    colours = set()
    with chromium() as browser:
        for width, scheme in product((390, 1440), ("light", "dark")):
            tab = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 500
            )
            text = open_page(tab, f"file://{file}", "Which backbone?", "Provenance")
            assert tab.evaluate("problems()") == [], (width, scheme)
            assert set(SKILLS) <= set(re.findall(r"\w+", text))
            hidden, drawn = ("wide", "narrow") if width < 500 else ("narrow", "wide")
            assert tab.locator(f".{hidden} svg:visible").count() == 0
            assert tab.locator(f".{drawn} svg:visible").count() >= 7
            assert tab.evaluate("unreachable()") == 0, "what scrolls must be focusable, to scroll it by keys"
            colours.add((scheme, tab.evaluate("colours()")))
            tab.keyboard.press("Tab")
            assert tab.evaluate("document.activeElement.className") == "skip"
            assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    assert len({colour for _, colour in colours}) == 2


def test_one_backbone_alone_has_a_page(tmp_path):
    page = report_html([fill(tmp_path, backbones=("good",))])
    assert "good is the only backbone over 3 tasks" in page
    assert "There is only one backbone, so there is no order to be uncertain about." in page


def test_a_backbone_without_any_score_is_last_and_named(tmp_path):
    fill(tmp_path, leave_out=("poor", None))
    page = report_html([tmp_path], allow_missing=True)
    assert read(page, "ranking")["backbone"].to_list()[-1] == "poor"
    assert "no score: poor on knn@digits" in page


def test_the_page_says_if_no_task_is_shared_by_all_backbones(tmp_path):
    fill(tmp_path / "one", tasks=("knn@digits",), backbones=("good", "fair"))
    fill(tmp_path / "two", tasks=("linear_probe@digits",), backbones=("poor",))
    page = report_html([tmp_path / "one", tmp_path / "two"], allow_missing=True)
    assert "no task has a score of every backbone" in page


def test_the_summary_run_of_mlflow_has_the_same_page(storage):
    assert summary_files(storage, "e")["report.html"] == report_html([storage], allow_missing=True)
