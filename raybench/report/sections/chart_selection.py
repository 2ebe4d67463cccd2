"""Pick the backbones and panels of a chart that has no room for all."""

from collections.abc import Sequence

import polars as pl

from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts


def top_backbones(report_data: ReportData, frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Rows of the MAX_LINES best backbones in the overall ranking, and a note for the caption."""
    present = set(frame["backbone"])
    order = [name for name in report_data.overall["backbone"] if name in present]
    shown = order[: charts.MAX_LINES]
    note = "all backbones." if shown == order else f"the best {len(shown)} of {len(order)} backbones."
    return frame.filter(pl.col("backbone").is_in(shown)), note


def first_panels(frame: pl.DataFrame, facet: str) -> tuple[pl.DataFrame, str]:
    """Rows of the first MAX_PANELS values of the column `facet`, and a note for the caption if that cuts."""
    values = frame[facet].unique().sort().to_list()
    shown = values[: charts.MAX_PANELS]
    return frame.filter(pl.col(facet).is_in(shown)), cut_note(shown, values, f"{facet}s")


def cut_note(shown: Sequence[str], names: Sequence[str], kind: str) -> str:
    """` Shown: the first 24 of 100 tasks.`, or an empty text if all are shown."""
    return "" if len(shown) == len(names) else f" Shown: the first {len(shown)} of {len(names)} {kind}."
