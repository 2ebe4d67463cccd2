"""Measured inference cost, as the report shows it."""

from dataclasses import replace

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule
from raybench.core.records import Measurement, Task
from raybench.report.document import report_html as report_of
from raybench.report.gather.inference_cost import inference_costs
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from raybench.store.inference_costs import write_cost
from raybench.store.measurements import read_measurements, write_measurements
from tests.report.results_on_disk import tables_of
from tests.store.test_inference_costs import COST

SPEED = {"a": 100.0, "b": 300.0, "c": 50.0}
ACCURACY = {"a": 0.9, "b": 0.5, "c": 0.4}


def report_html(storages):
    return report_of(read_results(storages))


def measured(storage, backbones=tuple(SPEED), input_size=32):
    """Measurements and costs of backbones whose checkpoint is named as they are."""
    for name in backbones:
        measurement = Measurement(
            experiment="e",
            backbone=name,
            task=Task.parse("knn@digits"),
            split="test",
            metric="accuracy",
            value=ACCURACY[name],
            num_examples=10,
            seed=0,
        )
        origin = {"checkpoint_digest": name, "preprocessing": {"input_size": input_size}}
        write_measurements(storage, "e", name, [measurement], origin)
    return storage


def cost_of(name, **changes):
    return replace(
        COST,
        **{"backbone": name, "checkpoint_digest": name, "images_per_second": SPEED[name], **changes},
    )


def test_the_pareto_front_uses_measured_throughput(tmp_path):
    measured(tmp_path)
    for name in SPEED:
        write_cost(tmp_path, cost_of(name))
    page = report_html([tmp_path])
    front = pl.read_csv(tables_of(page)["pareto_images_per_second.csv"].encode())
    assert dict(front.select("backbone", "on_front").iter_rows()) == {"a": True, "b": True, "c": False}
    assert dict(front.select("backbone", "dominated_by").iter_rows())["c"] in ("a", "b")
    assert "Inference measured on Abacus, 1 threads, float32, batches of 8" in page
    assert "3 of 3 backbones have been measured so." in page
    assert pl.read_csv(tables_of(page)["inference_costs.csv"].encode()).height == 3


def test_costs_of_another_checkpoint_or_input_size_are_ignored(tmp_path):
    measured(tmp_path)
    write_cost(tmp_path, cost_of("a", checkpoint_digest="retrained"))
    write_cost(tmp_path, cost_of("b", input_size=64))
    assert inference_costs(read_measurements(tmp_path), [tmp_path]).is_empty()


def test_two_names_of_one_checkpoint_share_its_cost(tmp_path):
    measured(tmp_path)
    write_cost(tmp_path, cost_of("a", backbone="alias"))
    assert inference_costs(read_measurements(tmp_path), [tmp_path])["backbone"].to_list() == ["a"]


def test_only_the_machine_with_most_backbones_is_shown(tmp_path):
    measured(tmp_path)
    for name in ("a", "b"):
        write_cost(tmp_path, cost_of(name))
    write_cost(tmp_path, cost_of("c", hardware="A faster one", images_per_second=9999.0))
    costs = inference_costs(read_measurements(tmp_path), [tmp_path])
    assert dict(costs.select("backbone", "is_shown").iter_rows()) == {"a": True, "b": True, "c": False}
    info = gather(read_results([tmp_path])).backbone_info
    assert dict(info.select("backbone", "images_per_second").iter_rows()) == {"a": 100, "b": 300, "c": None}


def test_costs_of_two_storages_are_merged(tmp_path):
    one, two = measured(tmp_path / "one", ("a",)), measured(tmp_path / "two", ("b",))
    write_cost(one, cost_of("a"))
    write_cost(two, cost_of("b"))
    report_data = gather(read_results([one, two]), rule=RankingRule(missing="mean_of_rest"))
    assert report_data.cost_columns == ["flops_g", "images_per_second", "latency_ms", "peak_memory_mib"]
    assert report_data.backbone_info["images_per_second"].to_list() == [100, 300]
