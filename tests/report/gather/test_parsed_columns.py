"""Columns parsed from the texts of tasks and conditions."""

import polars as pl

from raybench.report.gather.parsed_columns import with_condition_columns, with_protocol


def test_conditions_are_split_into_kind_and_subject():
    texts = ["clean", "shift(imagenet_r)", "shift(a(b),c)", "linf_pgd(eps=8/255,steps=20)", "clean"]
    frame = with_condition_columns(pl.DataFrame({"condition": texts}))
    assert frame["condition_kind"].to_list() == ["clean", "shift", "shift", "linf_pgd", "clean"]
    assert frame["condition_subject"].to_list() == ["", "imagenet_r", "a(b),c", "", ""]


def test_a_malformed_condition_has_no_kind():
    frame = with_condition_columns(pl.DataFrame({"condition": ["fog(3", "fog(severity=3)"]}))
    assert frame["condition_kind"].to_list() == [None, "fog"]


def test_protocols_are_read_from_tasks_and_null_without_one():
    frame = with_protocol(pl.DataFrame({"task": ["knn@hf:org/birds", "birds", "knn@digits"]}))
    assert frame["protocol"].to_list() == ["knn", None, "knn"]


def test_an_empty_frame_stays_empty():
    frame = pl.DataFrame(schema={"task": pl.String, "condition": pl.String})
    assert with_protocol(frame).is_empty()
    columns = ["task", "condition", "condition_kind", "condition_subject"]
    assert with_condition_columns(frame).columns == columns
