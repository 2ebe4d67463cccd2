"""Rows of text in columns."""

from raybench.report.render.columns import aligned, markdown


def test_numbers_are_right_aligned_and_text_left_aligned():
    rows = [{"name": "a", "z": "+1.5", "share": "12.5%"}, {"name": "long", "z": "-10.25", "share": "3%"}]
    assert aligned(rows).split("\n") == [
        "name       z  share",
        "a       +1.5  12.5%",
        "long  -10.25     3%",
    ]


def test_a_missing_cell_is_a_dash_and_keeps_its_column_numeric():
    assert aligned([{"n": 1}, {"n": None}, {"n": 10}]).split("\n") == [" n", " 1", " –", "10"]


def test_lists_and_mappings_are_joined():
    rows = [{"groups": ("mini", "bob"), "splits": {"train": "all"}, "empty": ()}]
    assert aligned(rows).split("\n")[1].split("  ") == ["mini, bob", "train=all", "", "", "–"]


def test_a_line_break_in_a_cell_does_not_break_the_table():
    assert aligned([{"doc": "one\n  two"}]) == "doc\none two"


def test_no_rows_give_empty_text():
    assert aligned([]) == ""
    assert markdown([]) == ""


def test_markdown_right_aligns_numbers():
    assert markdown([{"name": "a", "n": 1}]).split("\n") == [
        "| name |    n |",
        "| :--- | ---: |",
        "| a    |    1 |",
    ]
