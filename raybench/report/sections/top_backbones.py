"""Whom a drawing shows where there is no room for all."""

import polars as pl

from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts


def top_backbones(evidence: ReportData, frame: pl.DataFrame) -> pl.DataFrame:
    """At most MAX_LINES backbones, by overall rank."""
    present = set(frame["backbone"])
    order = [name for name in evidence.aggregate_ranking["backbone"] if name in present][: charts.MAX_LINES]
    return frame.filter(pl.col("backbone").is_in(order))


def these(num_shown: int, num_all: int) -> str:
    return "all backbones." if num_shown == num_all else f"the best {num_shown} of {num_all} backbones."
