"""Every evaluator has a section, made from what its row declares: headline, curves, metrics, warnings."""

import io
from dataclasses import replace

import polars as pl
import pytest

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings
from raybench.core.condition import Condition
from raybench.core.records import Measurement
from raybench.metrics import METRICS, Metric, NotResampled
from raybench.report.document import report_html
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text
from raybench.store import artifacts, ledger
from raybench.store.measurements import write_measurements
from tests.report.results_on_disk import fill, tables_of

TASKS = ("knn@digits", "linear_probe@digits")
LOSS = {"good": 0.1, "fair": 0.2, "poor": 0.4}
WET = Condition("rain", settings=(("drops", "3"),))


class SplashSettings(EvaluatorSettings):
    """Nothing to set."""


SPLASH = EvaluatorInfo(
    name="splash",
    entry_point="a_package.splash:splash",
    needs="images",
    metrics=("splash_loss", "splash_depth"),
    headline="splash_loss",
    section="Rain on the lens",
    settings=SplashSettings,
    presets={"standard": SplashSettings()},
    curves=(
        CurveInfo(
            name="splash_curve",
            title="Splashes",
            x="drops",
            y="loss",
            x_title="drops",
            y_title="lost accuracy",
        ),
        CurveInfo(
            name="splash_by_lens",
            title="Splashes by lens",
            x="drops",
            y="loss",
            x_title="drops",
            y_title="lost accuracy",
            series="lens",
            has_panel_per_series=True,
        ),
    ),
    doc="How much accuracy does rain cost?",
)


@pytest.fixture(autouse=True)
def splash(monkeypatch):
    """An evaluator that raybench does not know, registered as a plug-in's would be."""
    monkeypatch.setitem(EVALUATORS._entries, "splash", SPLASH)
    for name, direction in (("splash_loss", "min"), ("splash_depth", "max")):
        metric = Metric(name=name, direction=direction, bounds=(0.0, 1.0), resampling=NotResampled("made up"))
        monkeypatch.setitem(METRICS._entries, name, metric)


def measure_splash(storage, *, gain=0.0):
    """Add splash's measurements and curves to every final trial; seed 1 has 0.02 more loss than seed 0."""
    finals = [record for record in ledger.read_records(storage, "e") if record.stage == "final"]
    for record in finals:
        loss = LOSS[record.pair.backbone] + 0.02 * record.seed + gain
        rows = [
            Measurement(
                experiment="e",
                backbone=record.pair.backbone,
                task=record.pair.task,
                split="test",
                metric=metric,
                value=value,
                num_examples=10,
                seed=record.seed,
                condition=WET,
            )
            for metric, value in (("splash_loss", loss), ("splash_depth", 1 - loss))
        ]
        write_measurements(storage, "e", f"{record.trial_id}-splash", rows, {})
        ledger.write_record(storage, replace(record, evaluations={"splash": "digest"}))
        points = [{"drops": drops, "loss": drops * loss} for drops in (0, 1)]
        by_lens = [{"lens": lens, **point} for lens in ("wide", "tele") for point in points]
        curves = {"splash_curve": points, "splash_by_lens": by_lens}
        warnings = ("dry",) if record.pair.backbone == "poor" else ()
        artifacts.write_curves(storage, "e", record.trial_id, "splash", curves, warnings)
    return storage


@pytest.fixture
def page(tmp_path):
    return report_html(read_results([measure_splash(fill(tmp_path, tasks=TASKS))]))


def section_of(page, name):
    return page.partition(f'<section id="evaluator-{name}"')[2].partition("</section>")[0]


def read(page, name):
    return pl.read_csv(io.StringIO(tables_of(page)[f"{name}.csv"]))


def test_a_new_evaluator_has_a_linked_section_with_its_heading_and_question(page):
    assert '<a href="#evaluator-splash">Rain on the lens</a>' in page
    section = section_of(page, "splash")
    assert "Rain on the lens</h2>" in section
    assert "How much accuracy does rain cost?" in section
    assert "splash_loss (lower is better)" in section


def test_the_headline_is_the_mean_over_seeds_best_first_with_intervals(page):
    headline = read(page, "splash_headline")
    assert headline["metric"].unique().to_list() == ["splash_loss"]
    assert headline["condition"].unique().to_list() == ["rain(drops=3)"]
    on_knn = headline.filter(task="knn@digits")
    assert on_knn["backbone"].to_list() == ["good", "fair", "poor"]
    assert on_knn["value"].to_list() == pytest.approx([0.11, 0.21, 0.41])
    assert set(headline["direction"]) == {"min"}
    assert set(headline["num_seeds"]) == {2}
    is_inside = (headline["low"] < headline["value"]) & (headline["value"] < headline["high"])
    assert is_inside.all()


def test_curves_are_drawn_from_their_description_on_the_first_seed(page):
    section = section_of(page, "splash")
    assert section.count("<figure>") == 1 + len(TASKS)  # A panel per task; and by lens, a figure per task.
    assert "Splashes: all tasks, first seed, all backbones." in section
    assert "Splashes by lens: knn@digits, first seed, all backbones." in section
    for label in ("drops", "lost accuracy", "wide", "tele", "linear_probe@digits"):
        assert f">{label}</text>" in section
    rows = read(page, "splash_curve")
    assert rows.filter(backbone="good", task="knn@digits", drops=1)["loss"].to_list() == [0.1]
    assert rows.height == len(LOSS) * len(TASKS) * 2
    assert read(page, "splash_by_lens").height == 2 * rows.height


def test_all_its_metrics_and_warnings_are_listed(page):
    metrics = read(page, "splash_metrics")
    assert set(metrics["metric"]) == {"splash_loss", "splash_depth"}
    depths = metrics.filter(metric="splash_depth", task="knn@digits")
    assert depths["backbone"].to_list() == ["good", "fair", "poor"]  # Higher is better.
    assert "<li>poor on knn@digits: dry</li>" in section_of(page, "splash")


def test_curves_of_withdrawn_measurements_are_not_shown(tmp_path):
    storage = measure_splash(fill(tmp_path, tasks=TASKS))
    for file in (storage / "measurements" / "e").glob("good-knn@digits-final-0.*"):
        file.unlink()
    stored = gather(read_results([storage])).evaluators["splash"].curves["splash_curve"]
    good = stored.filter(backbone="good", task="knn@digits", drops=1)
    assert good["loss"].to_list() == [pytest.approx(0.12)]  # Of seed 1, the first that is left.


def test_contradicting_experiments_leave_a_reason_and_the_rest_of_the_page(tmp_path):
    storage = measure_splash(fill(tmp_path, tasks=TASKS))
    other = [
        Measurement(
            experiment="again",
            backbone="good",
            task=record.pair.task,
            split="test",
            metric="splash_loss",
            value=0.9,
            num_examples=10,
            seed=0,
            condition=WET,
        )
        for record in ledger.read_records(storage, "e")[:1]
    ]
    write_measurements(storage, "again", "t", other, {})
    page = report_html(read_results([storage]))
    assert "different splash_loss of &#39;good&#39;" in section_of(page, "splash")
    assert "good is first of 3 backbones" in page


@pytest.mark.parametrize("name", [name for name in EVALUATORS if name != "splash"])
def test_an_evaluator_without_measurements_is_listed_as_not_shown(page, name):
    heading = EVALUATORS[name].section
    reason = f"the evaluator `{name}` has measured nothing here."
    assert f'<dt id="evaluator-{name}">{heading}</dt>\n<dd>{reason}</dd>' in page


def test_metrics_that_two_evaluators_share_are_attributed_to_neither(tmp_path):
    file = tmp_path / "t.csv"
    rows = [
        f"{backbone},linear_probe@digits,{metric},{value},{condition}"
        for backbone, value in (("a", 0.5), ("b", 0.4))
        for metric, condition in (
            ("accuracy", "clean"),
            ("nll", "clean"),
            ("nll", "temperature_scaled(fit=val)"),
            ("accuracy", "shift(sketches)"),
            ("shift_accuracy", "shift(mean)"),
        )
    ]
    file.write_text("\n".join(["backbone,task,metric,value,condition", *rows]))
    evaluators = gather(read_results([file])).evaluators
    assert set(evaluators["shift"].metrics["metric"]) == {"shift_accuracy"}
    assert evaluators["corruption"].metrics.is_empty()
    assert set(evaluators["calibration"].metrics["condition"]) == {"temperature_scaled(fit=val)"}


def test_robust_accuracy_is_named_an_upper_bound_wherever_it_is_shown(tmp_path):
    file = tmp_path / "t.csv"
    rows = [
        f"{backbone},linear_probe@digits,{metric},{value},{condition}"
        for backbone, value in (("a", 0.5), ("b", 0.4))
        for metric, condition in (
            ("accuracy", "clean"),
            ("robust_accuracy", "linf_pgd(eps=1/255)"),
            ("mean_robust_accuracy", "linf_pgd(eps=1/255..1/255)"),
        )
    ]
    file.write_text("\n".join(["backbone,task,metric,value,condition", *rows]))
    results = read_results([file])
    section = section_of(report_html(results), "adversarial")
    assert "mean_robust_accuracy (upper bound) (higher is better)" in section
    assert "mean over seeds; robust_accuracy: upper bound; mean_robust_accuracy: upper bound" in section
    ranked = rank_text(results, Criterion(category="adversarial"))
    assert "Under the tasks: mean_robust_accuracy (upper bound), %" in ranked


def test_all_metrics_of_the_protocols_are_in_a_table(tmp_path):
    file = tmp_path / "t.csv"
    rows = [
        f"{backbone},linear_probe@digits,{metric},{value},{seed}"
        for backbone, accuracy in (("a", 0.5), ("b", 0.4))
        for seed in (0, 1)
        for metric, value in (("accuracy", accuracy), ("nll", 1 - accuracy + seed), ("ece", 0.1))
    ]
    file.write_text("\n".join(["backbone,task,metric,value,seed", *rows]))
    table = read(report_html(read_results([file])), "protocol_metrics")
    assert table.select("metric", "backbone").rows() == [
        ("accuracy", "a"), ("accuracy", "b"), ("nll", "a"), ("nll", "b"),
    ]  # fmt: skip
    assert table["value"].to_list() == pytest.approx([0.5, 0.4, 1.0, 1.1])
