"""A protocol is refused a dataset that is not annotated with what it needs."""

from dataclasses import replace

import pytest

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.datasets import DATASETS
from raybench.catalog.listing import listing
from raybench.catalog.tasks import PROTOCOLS


@pytest.fixture(autouse=True)
def scenes(monkeypatch):
    """A catalogue row with several labels per image."""
    row = replace(DATASETS["shapes"], name="scenes", annotation="labels")
    monkeypatch.setitem(DATASETS._entries, "scenes", row)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mismatch_is_reported_with_line_task_dataset_and_both_annotations(problems, protocol):
    assert problems(tasks=f"[knn@digits, {protocol}@scenes]") == [
        f"line 3: task '{protocol}@scenes': {protocol} needs a dataset annotated with classes, "
        "and 'scenes' is annotated with labels."
    ]


def test_no_task_is_listed_that_a_spec_could_not_name():
    assert not [row["name"] for row in listing("tasks") if row["dataset"] == "scenes"]


@pytest.mark.parametrize("setting", [{"examples_per_class": 5}, {"shifts": {"sketch": None}}])
def test_settings_per_class_need_classes(setting):
    with pytest.raises(ValueError, match="`shifts` need classes, but it is annotated with depth"):
        DatasetInfo(name="d", source=DATASETS["shapes"].source, annotation="depth", **setting)
