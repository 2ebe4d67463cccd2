"""What is pretraining worth where architecture and amount of data are equal?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import apples_to_apples
from raybench.report.gather.report_data import ReportData
from raybench.report.render.parts import Absent, Part, Table, Text

DATA_FACTOR = 2.0
"""Largest ratio of the sizes of pretraining sets within a group."""


def same_architecture(report_data: ReportData) -> Sequence[Part]:
    """Backbones of one architecture with pretraining sets of similar size."""
    ranked, info = report_data.overall.drop_nulls("mean_zscore"), report_data.backbone_info
    groups = apples_to_apples(ranked, info, data_factor=DATA_FACTOR)
    if groups.is_empty():
        return [
            Absent(
                "no two backbones share an architecture with pretraining sets within a factor of "
                f"{DATA_FACTOR:g} of each other."
            )
        ]
    groups = groups.join(info.select("backbone", "method"), on="backbone", maintain_order="left")
    gaps = groups.group_by("group", maintain_order=True).agg(
        pl.col("architecture").first(),
        best=pl.col("backbone").first(),
        gap=pl.col("mean_zscore").max() - pl.col("mean_zscore").min(),
    )
    widest = gaps.sort("gap", "group", descending=[True, False]).row(0, named=True)
    columns = ("architecture", "rank_in_group", "backbone", "method")
    return [
        Text(
            f"Backbones of one architecture whose pretraining sets differ in size by a factor of "
            f"{DATA_FACTOR:g} at most, so that mainly the method differs. The largest gap is in "
            f"{widest['architecture']}: {widest['best']} is {widest['gap']:.2f} ahead of the last in mean "
            "z-score."
        ),
        Table(
            groups.select(*columns, "pretrain_images", "mean_zscore", "group"),
            "Same architecture, comparable data",
            "apples_to_apples",
        ),
    ]
