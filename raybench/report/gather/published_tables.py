"""Compare results with a published table: which names mean the same weights, and the values of both."""

from dataclasses import dataclass

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule, aggregate_ranking
from raybench.analysis.published_comparison import rank_correlation, shared_ranking, shared_values
from raybench.catalog.published import PublishedResults
from raybench.core.records import Task
from raybench.report.gather.criteria import CLEAN
from raybench.report.gather.seed_means import seed_means


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """Backbones and tasks that results and a published table have in common."""

    paper: PublishedResults
    ranking: pl.DataFrame
    """From `published_comparison.shared_ranking`; empty where no backbone is in both tables."""
    values: pl.DataFrame
    """From `published_comparison.shared_values`; empty where no task is in both tables."""

    @property
    def protocols(self) -> str:
        """Protocols of the published table's tasks."""
        return " and ".join(sorted({Task.parse(score.task).protocol for score in self.paper.scores}))

    @property
    def summary(self) -> str:
        """One or two sentences: how many backbones are shared, and whether the orders agree."""
        table = f"the table of {self.paper.citation} ({len(self.paper.backbones)} backbones)"
        if self.ranking.is_empty():
            return f"No backbone here is in {table}; `raybench rank published:{self.paper.name}` lists it."
        rho = rank_correlation(self.ranking)
        agree = "" if rho is None else f" Spearman's ρ between the two orders is {rho:.2f}."
        num = self.ranking.height
        return (
            f"{num} backbone{' is' if num == 1 else 's are'} also in {table}, which ranks by "
            f"{self.protocols}; ranks are among these {num}, z-scores among all of each table.{agree}"
        )


def compare_with_published(
    overall: pl.DataFrame, measurements: pl.DataFrame, paper: PublishedResults, rule: RankingRule
) -> PublishedComparison:
    """Compare an aggregate ranking with a paper's, ranked by the same rule.

    Args:
        overall: columns read: backbone, mean_zscore.
        measurements: the measurement table, for the tasks that the paper has too.
        paper: the published table.
        rule: the open choices of the paper's rule.

    Raises:
        DuplicateMeasurementError: two experiments measured different values of the same thing.
    """
    published = pl.DataFrame(paper.scores)
    names = [(b.timm, b.backbone) for b in paper.backbones if b.timm]
    names += [(b.backbone, b.backbone) for b in paper.backbones]
    same = pl.DataFrame(names, schema=["backbone", "published_as"], orient="row").unique()
    shared = measurements.filter(split="test", condition=CLEAN).join(
        published.select("task", "metric").unique(), on=["task", "metric"], how="semi"
    )
    return PublishedComparison(
        paper=paper,
        ranking=shared_ranking(overall, aggregate_ranking(published, rule), same),
        values=shared_values(seed_means(shared), published, same),
    )
