"""Do larger backbones and more pretraining data give better scores?"""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.correlation import score_correlations
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table

QUANTITIES = {"params_m": "million parameters", "pretrain_images": "pretraining images"}


def scaling(report_data: ReportData) -> Sequence[Part]:
    """Mean z-score over size and over pretraining data, by family."""
    return [part for column, title in QUANTITIES.items() for part in _scatter(report_data, column, title)]


def _scatter(report_data: ReportData, column: str, title: str) -> list[Part]:
    info = report_data.backbone_info
    shown = report_data.overall.join(info, on="backbone").filter(pl.col(column) > 0).drop_nulls("mean_zscore")
    if shown.height < 2:
        return [Absent(f"{title} are known (and above 0) of {shown.height} backbones; a scatter needs 2.")]
    correlations = score_correlations(report_data.overall, info, column)
    return [
        Figure(
            charts.scatter(shown, column, f"{title} (logarithmic)", "family"),
            f"Scatter of mean z-score over {title}, {shown.height} backbones, by family.",
            f"Mean z-score over {title}; a value of 0 cannot be shown on a logarithmic axis.",
        ),
        Table(correlations, f"Spearman's ρ of mean z-score with {title}", f"correlation_{column}"),
    ]
