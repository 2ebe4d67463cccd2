"""Merging tables: provenance kept, conflicts reported, nothing averaged."""

import polars as pl
import pytest

from raybench.analysis.merge import merge, require_no_conflict
from raybench.core.errors import DuplicateMeasurementError, EmptyInputError


def table(*rows: tuple[str, float], experiment: str = "e", **others) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "experiment": experiment,
                "backbone": backbone,
                "task": "knn@x",
                "split": "test",
                "metric": "accuracy",
                "condition": "clean",
                "seed": 0,
                "value": value,
                **others,
            }
            for backbone, value in rows
        ]
    )


def test_agreeing_and_disjoint_tables_are_merged_with_all_their_sources():
    merged, conflicts = merge({"lab1": table(("a", 0.5), ("b", 0.6)), "lab2": table(("a", 0.5), ("c", 0.7))})
    assert merged.select("backbone", "value", "source", "sources").rows() == [
        ("a", 0.5, "lab1", ["lab1", "lab2"]),
        ("b", 0.6, "lab1", ["lab1"]),
        ("c", 0.7, "lab2", ["lab2"]),
    ]
    assert conflicts.is_empty()
    require_no_conflict(conflicts)


def test_a_conflict_is_reported_and_in_neither_mean_nor_table():
    merged, conflicts = merge({"lab1": table(("a", 0.5), ("b", 0.6)), "lab2": table(("a", 0.7))})
    assert merged["backbone"].to_list() == ["b"]
    assert conflicts.select("backbone", "value", "sources", "is_kept").rows() == [
        ("a", 0.5, ["lab1"], False),
        ("a", 0.7, ["lab2"], False),
    ]
    with pytest.raises(DuplicateMeasurementError, match=r"is 0\.5 in lab1 but 0\.7 in lab2"):
        require_no_conflict(conflicts)


def test_a_preferred_source_decides():
    merged, conflicts = merge({"lab1": table(("a", 0.5)), "lab2": table(("a", 0.7))}, prefer=("lab2",))
    assert merged.select("value", "source").rows() == [(0.7, "lab2")]
    assert conflicts["is_kept"].to_list() == [False, True]
    require_no_conflict(conflicts)


def test_a_preferred_source_that_contradicts_itself_decides_nothing():
    both = pl.concat([table(("a", 0.5)), table(("a", 0.6), experiment="f")])
    merged, conflicts = merge({"lab1": both, "lab2": table(("a", 0.7))}, prefer=("lab1",))
    assert merged.is_empty()
    assert conflicts.height == 3


def test_other_seeds_are_other_identities_and_extra_columns_survive():
    merged, conflicts = merge({"lab1": table(("a", 0.5)), "lab2": table(("a", 0.7), seed=1, device="H200")})
    assert merged.select("seed", "device").rows() == [(0, None), (1, "H200")]
    assert conflicts.is_empty()


def test_the_order_of_rows_and_of_sources_changes_no_value():
    one, two = table(("b", 0.6), ("a", 0.5)), table(("c", 0.7), ("a", 0.9))
    forth, back = merge({"x": one, "y": two}), merge({"y": two[::-1], "x": one[::-1]})
    for first, second in zip(forth, back, strict=True):
        columns = ["backbone", "value", "sources"]
        assert first.select(columns).equals(second.select(columns))


def test_no_table_and_unknown_sources_are_refused():
    with pytest.raises(EmptyInputError, match="nothing to merge"):
        merge({})
    with pytest.raises(EmptyInputError, match="no source 'lab9'"):
        merge({"lab1": table(("a", 0.5))}, prefer=("lab9",))
