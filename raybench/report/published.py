"""A published table, ranked as one's own results are, with what its text reports beside it."""

import polars as pl

from raybench.analysis.ranking import overall, rank_within_task, zscore_within_task
from raybench.catalog.published import PublishedResults, published
from raybench.report.columns import aligned
from raybench.report.terminal import FORMATS, Ranking

PREFIX = "published:"


def rank_published(address: str, *, output_format: str = "table", ddof: int = 1) -> str:
    """The ranking of `published:NAME` as text.

    Args:
        address: for example `published:bob`.
        output_format: a key of `terminal.FORMATS`; the table also lists what the paper's text reports.
        ddof: 1 for the sample's standard deviation in the z-scores, 0 for the population's.

    Raises:
        UnknownNameError: if nothing of that name is in the catalogue.
    """
    results = published(address.removeprefix(PREFIX))
    ranked = (
        pl.DataFrame(results.scores)
        .with_columns(num_seeds=pl.lit(1))
        .pipe(zscore_within_task, ddof=ddof)
        .pipe(rank_within_task)
    )
    ranking = Ranking(experiments=[address], ranked=ranked, standing=overall(ranked), missing=[])
    text = FORMATS[output_format](ranking)
    return f"{text}\n{_said(results)}" if output_format == "table" else text


def _said(results: PublishedResults) -> str:
    """The citation, and numbers of the text with how certain each is."""
    rows = [
        {"reported": s.quantity, "for": s.setting, "value": f"{s.value:g}", "certainty": s.certainty}
        for s in results.scalars
    ]
    return "\n".join([f"Source: {results.citation}", "", aligned(rows)])
