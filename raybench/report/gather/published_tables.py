"""A published table beside one's own results: which names mean the same weights, and what both say."""

from dataclasses import dataclass

import polars as pl

from raybench.analysis.aggregate_ranking import RankingRule, aggregate_ranking
from raybench.analysis.published_comparison import rank_correlation, shared_ranking, shared_values
from raybench.analysis.scores import agree_across_experiments, mean_over_seeds
from raybench.catalog.published import PublishedResults


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """What the formats show of it."""

    paper: PublishedResults
    ranking: pl.DataFrame
    """From `published_comparison.shared_ranking`; empty where no backbone is in both tables."""
    values: pl.DataFrame
    """From `published_comparison.shared_values`; empty where no task is in both tables."""

    @property
    def summary(self) -> str:
        """In a sentence or two."""
        table = f"the table of {self.paper.citation} ({len(self.paper.backbones)} backbones)"
        if self.ranking.is_empty():
            return f"No backbone here is in {table}; `raybench rank published:{self.paper.name}` lists it."
        rho = rank_correlation(self.ranking)
        agree = "" if rho is None else f" Spearman's ρ between the two orders is {rho:.2f}."
        num = self.ranking.height
        return (
            f"{num} backbone{' is' if num == 1 else 's are'} also in {table}, where it is retrieval that is "
            f"ranked; ranks are among these {num}, z-scores among all of each table.{agree}"
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
        DuplicateMeasurementError: two experiments found different values of one thing.
    """
    theirs = pl.DataFrame(paper.scores)
    names = [(b.timm, b.backbone) for b in paper.backbones if b.timm]
    names += [(b.backbone, b.backbone) for b in paper.backbones]
    same = pl.DataFrame(names, schema=["backbone", "published_as"], orient="row").unique()
    shared = measurements.filter(split="test", condition="clean").join(
        theirs.select("task", "metric").unique(), on=["task", "metric"], how="semi"
    )
    per_metric = [
        group.pipe(agree_across_experiments).pipe(mean_over_seeds).with_columns(metric=pl.lit(metric))
        for (metric,), group in sorted(shared.unique([*shared.columns]).group_by("metric"))
    ]
    empty = shared.select("task", "metric", "backbone", "value")
    return PublishedComparison(
        paper=paper,
        ranking=shared_ranking(overall, aggregate_ranking(theirs, rule), same),
        values=shared_values(pl.concat(per_metric) if per_metric else empty, theirs, same),
    )
