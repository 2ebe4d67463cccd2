"""Ranking by what an evaluator measured."""

import polars as pl
import pytest

from raybench.core.condition import Condition
from raybench.core.errors import EmptyInputError, UnknownNameError
from raybench.core.records import Measurement, Task
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.sources import read_results
from raybench.report.render.terminal import rank_text
from raybench.store.measurements import write_measurements

TASKS = ("knn@digits", "linear_probe@digits")


@pytest.fixture
def storage(tmp_path):
    """Two backbones on two tasks; calibration on both tasks, shift on one of them, mean over two sets."""
    for backbone, accuracy, ece in (("a", 0.9, 0.2), ("b", 0.8, 0.1)):
        for task in TASKS:
            values = [("accuracy", "clean", accuracy), ("ece", "clean", ece), ("ece", "cooled", ece / 2)]
            if task == TASKS[0]:
                values.append(("shift_accuracy", "shift(mean)", accuracy / 2))
            measurements = [
                Measurement(
                    experiment="e",
                    backbone=backbone,
                    task=Task.parse(task),
                    split="test",
                    metric=metric,
                    value=value,
                    num_examples=10,
                    seed=0,
                    condition=Condition.parse(condition),
                )
                for metric, condition, value in values
            ]
            write_measurements(tmp_path, "e", f"{backbone}-{task}", measurements, {})
    return tmp_path


def rank_storage(storage, output_format="table", **criterion):
    return rank_text(read_results([storage]), Criterion(**criterion), output_format=output_format)


def best(text):
    return pl.read_csv(text.encode())["backbone"][0]


def test_a_category_ranks_by_its_headline_and_its_direction(storage):
    assert best(rank_storage(storage, output_format="csv")) == "a"
    assert best(rank_storage(storage, category="calibration", output_format="csv")) == "b"


def test_tasks_without_the_category_are_not_missing(storage):
    text = rank_storage(storage, category="shift")
    assert "2 backbones on 1 task" in text
    assert "shift_accuracy, % under shift(mean)" in text


def test_another_condition_can_be_chosen(storage):
    text = rank_storage(storage, category="calibration", condition="cooled")
    assert "lower is better under cooled" in text


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"category": "calibraton"}, UnknownNameError, "did you mean 'calibration'"),
        ({"category": "shift", "condition": "fog"}, UnknownNameError, "there is 'shift\\(mean\\)'"),
    ],
)
def test_unknown_categories_and_conditions_are_refused(storage, options, error, sentence):
    with pytest.raises(error, match=sentence):
        rank_storage(storage, **options)


def test_a_category_that_was_not_measured_is_refused_with_the_remedy(tmp_path):
    clean = Measurement(
        experiment="e",
        backbone="a",
        task=Task.parse(TASKS[0]),
        split="test",
        metric="accuracy",
        value=0.5,
        num_examples=10,
        seed=0,
    )
    write_measurements(tmp_path, "e", "t", [clean], {})
    with pytest.raises(EmptyInputError, match="add `shift` to the `evaluators`"):
        rank_storage(tmp_path, category="shift")
