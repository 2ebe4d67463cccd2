"""The shared view's settings. tests/end_to_end/test_cluster.py checks that MLflow's UI shows it."""

import json

from raybench.tracking.shared_view import shared_view, table_address


def test_pairs_are_sorted_by_the_first_tasks_objective_on_test():
    view = json.loads(shared_view(["linear_probe@digits", "retrieval@digits", "knn@digits"]))
    assert view["orderByKey"] == "metrics.`test/accuracy`"
    assert view["orderByAsc"] is False
    assert "pair" in view["searchFilter"]


def test_every_objective_is_a_column_once():
    columns = json.loads(shared_view(["linear_probe@digits", "retrieval@digits", "knn@digits"]))[
        "selectedColumns"
    ]
    assert columns[:4] == [
        "metrics.`test/accuracy`",
        "metrics.`std/test/accuracy`",
        "metrics.`test/map`",
        "metrics.`std/test/map`",
    ]


def test_a_database_has_no_address():
    assert table_address("sqlite:////data/mlflow.db", "1") == ""
