"""Frames as cells of an HTML table."""

import base64
import gzip

import polars as pl
import pytest

from raybench.report.render.tables import MAX_PLAIN_BYTES, MAX_ROWS, csv_text, table_view


def cells(values, dtype=None):
    return list(table_view(pl.DataFrame({"x": pl.Series(values, dtype=dtype)})).columns[0].cells)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 12.25], ["0.500", "12.250"]),
        ([0.5, 100.0], ["0.5", "100.0"]),
        ([0.5, -1000.25], ["0", "−1,000"]),
        ([1.0, 2.0], ["1", "2"]),
        ([-0.0001, 0.5], ["0.000", "0.500"]),
        ([1_000_000, None], ["1,000,000", "–"]),
        ([True, None], ["yes", "–"]),
        ([["a", "b"], []], ["a, b", ""]),
        (["as it is", None], ["as it is", "–"]),
    ],
)
def test_cells_are_rounded_by_their_columns_size(values, expected):
    assert cells(values) == expected


def test_only_numbers_are_right_aligned_and_headings_are_readable():
    frame = pl.DataFrame({"mean_zscore": [0.5], "params_m": [3], "knn@my_data": [0.5], "backbone": ["a"]})
    columns = {column.heading: column.is_numeric for column in table_view(frame).columns}
    assert columns == {"mean z-score": True, "parameters, M": True, "knn@my_data": True, "backbone": False}


def test_a_long_table_is_cut_but_its_csv_is_complete():
    frame = pl.DataFrame({"n": range(MAX_ROWS + 1), "groups": [["a", "b"]] * (MAX_ROWS + 1)})
    view = table_view(frame)
    assert (view.is_cut, len(view.rows), view.num_rows) == (True, MAX_ROWS, MAX_ROWS + 1)
    text = base64.b64decode(view.base64).decode()
    assert text == csv_text(frame)
    assert text.splitlines()[-1] == f"{MAX_ROWS},a; b"
    assert not table_view(frame.head(MAX_ROWS)).is_cut


def test_a_huge_csv_is_compressed_and_complete():
    frame = pl.DataFrame({"n": range(MAX_PLAIN_BYTES // 4)})
    view = table_view(frame)
    assert (view.suffix, view.media_type) == (".csv.gz", "application/gzip")
    assert gzip.decompress(base64.b64decode(view.base64)).decode() == csv_text(frame)
    assert table_view(frame) == view
    assert table_view(frame.head(9)).suffix == ".csv"


def test_an_empty_frame_has_headings_only():
    view = table_view(pl.DataFrame(schema={"a": pl.String, "b": pl.Float64}))
    assert [column.heading for column in view.columns] == ["a", "b"]
    assert view.rows == []
