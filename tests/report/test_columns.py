"""Rows of text in columns."""

from raybench.report.render.columns import aligned, markdown


def test_numbers_stand_to_the_right_and_words_to_the_left():
    rows = [{"name": "a", "z": "+1.5", "share": "12.5%"}, {"name": "long", "z": "-10.25", "share": "3%"}]
    assert aligned(rows).split("\n") == [
        "name       z  share",
        "a       +1.5  12.5%",
        "long  -10.25     3%",
    ]


def test_what_is_not_there_is_a_dash_and_leaves_numbers_numbers():
    assert aligned([{"n": 1}, {"n": None}, {"n": 10}]).split("\n") == [" n", " 1", " –", "10"]


def test_lists_and_mappings_are_written_out():
    rows = [{"groups": ("mini", "bob"), "splits": {"train": "all"}, "empty": ()}]
    assert aligned(rows).split("\n")[1].split("  ") == ["mini, bob", "train=all", "", "", "–"]


def test_a_line_break_in_a_cell_does_not_break_the_table():
    assert aligned([{"doc": "one\n  two"}]) == "doc\none two"


def test_no_rows_are_no_lines():
    assert aligned([]) == ""
    assert markdown([]) == ""


def test_markdown_aligns_numbers_by_its_rule():
    assert markdown([{"name": "a", "n": 1}]).split("\n") == [
        "| name |    n |",
        "| :--- | ---: |",
        "| a    |    1 |",
    ]
