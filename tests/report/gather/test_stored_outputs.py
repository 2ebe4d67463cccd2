"""Statistics of stored outputs: examples are matched by id, and outputs that do not fit are not used."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raybench.core.records import Pair, Task
from raybench.report.gather.stored_outputs import stored_statistics
from raybench.store.artifacts import write_per_query
from raybench.store.predictions import write_predictions

IS_CORRECT = np.array([1.0, 0.0, 1.0, 1.0, 0.0])


@dataclass(frozen=True)
class Answers:
    """Predictions of two classes that are correct where `is_correct` is 1."""

    ids: tuple[str, ...]
    targets: np.ndarray
    logits: np.ndarray


def store(storage: Path, backbone: str, order: list[int], *, names: str = "abcde") -> None:
    """Write the answers IS_CORRECT of the examples a, b, …, in some order."""
    wrong = 1 - IS_CORRECT[order]
    answers = Answers(
        ids=tuple(names[i] for i in order),
        targets=np.zeros(len(order), dtype=int),
        logits=np.stack([IS_CORRECT[order], wrong], axis=1),
    )
    pair = Pair(backbone=backbone, task=Task.parse("knn@digits"))
    write_predictions(storage, "e", backbone, {"test": answers}, pair=pair, seed=0)


def rows(*values: float, metric: str = "accuracy") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "experiment": "e",
                "backbone": name,
                "trial_id": name,
                "metric": metric,
                "seed": 0,
                "value": value,
            }
            for name, value in zip("xy", values, strict=False)
        ]
    )


def test_examples_are_matched_by_id_in_whatever_order_they_were_written(tmp_path):
    store(tmp_path, "x", [0, 1, 2, 3, 4])
    store(tmp_path, "y", [3, 1, 4, 0, 2])
    (x,), (y,) = stored_statistics(rows(0.6, 0.6), ["x", "y"], [tmp_path])
    assert x.values.tolist() == y.values.tolist() == IS_CORRECT.tolist()


@pytest.mark.parametrize(
    ("names", "values", "metric"),
    [("abcdf", (0.6, 0.6), "accuracy"), ("abcde", (0.6, 0.8), "accuracy"), ("abcde", (0.1, 0.2), "ece")],
    ids=["other examples", "another value than measured", "not resampled"],
)
def test_outputs_that_do_not_fit_are_not_used(tmp_path, names, values, metric):
    store(tmp_path, "x", [0, 1, 2, 3, 4])
    store(tmp_path, "y", [0, 1, 2, 3, 4], names=names)
    assert stored_statistics(rows(*values, metric=metric), ["x", "y"], [tmp_path]) is None


def test_without_outputs_of_every_backbone_there_are_no_statistics(tmp_path):
    store(tmp_path, "x", [0, 1, 2, 3, 4])
    assert stored_statistics(rows(0.6, 0.6), ["x", "y"], [tmp_path]) is None


def test_several_storages_are_searched(tmp_path):
    store(tmp_path / "one", "x", [0, 1, 2, 3, 4])
    store(tmp_path / "two", "y", [0, 1, 2, 3, 4])
    found = stored_statistics(rows(0.6, 0.6), ["x", "y"], [tmp_path / "one", tmp_path / "two"])
    assert [len(seeds) for seeds in found] == [1, 1]


def test_queries_without_a_value_for_one_backbone_are_dropped_for_all(tmp_path):
    for name, values in (("x", [1.0, np.nan, 0.5]), ("y", [0.5, np.nan, np.nan])):
        write_per_query(tmp_path, "e", name, {"test": {"map": np.array(values)}})
    (x,), (y,) = stored_statistics(rows(0.75, 0.5, metric="map"), ["x", "y"], [tmp_path])
    assert x.values.tolist() == [1.0]
    assert y.values.tolist() == [0.5]
