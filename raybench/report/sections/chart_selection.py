"""Pick the backbones of a chart that has no room for all."""

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
