"""The sections that hold something equal: size, architecture, dataset. `ReportData` → parts of a page."""

from collections.abc import Sequence

import polars as pl

from raybench.analysis.aggregate_ranking import rank_within_size
from raybench.analysis.correlation import apples_to_apples, compare_protocols, gain_by_family
from raybench.metrics import METRICS
from raybench.report.gather.report_data import ReportData
from raybench.report.render import charts
from raybench.report.render.parts import Absent, Figure, Part, Table, Text

TIERS = (0.4, 1, 3, 10, 30, 100, 300)
"""Millions of parameters. The paper's small tier is below 30."""
DATA_FACTOR = 2.0
"""Pretraining sets of one group differ by less."""


def size_tiers(evidence: ReportData) -> pl.DataFrame:
    """The ranking within every tier that leaves somebody out and somebody in, columns as `rank_within_size`.

    With `max_params_m`, and `rank_in_tier` beside the rank among all.
    """
    overall = evidence.aggregate_ranking.drop_nulls("mean_zscore")
    frames: list[pl.DataFrame] = []
    for limit in TIERS:
        small = rank_within_size(overall, evidence.facts, max_params_m=limit)
        is_new = not frames or small.height > frames[-1].height
        if 0 < small.height < overall.height and is_new:
            frames.append(small.with_columns(max_params_m=pl.lit(float(limit))))
    if not frames:
        return pl.DataFrame()
    places = overall.select("backbone", rank_of_all="overall_rank")
    return (
        pl.concat(frames)
        .rename({"overall_rank": "rank_in_tier"})
        .join(places, on="backbone", maintain_order="left")
        .select("max_params_m", "rank_in_tier", "backbone", "params_m", "mean_zscore", "rank_of_all")
    )


def budget(evidence: ReportData) -> Sequence[Part]:
    """The best below a size."""
    tiers = size_tiers(evidence)
    if tiers.is_empty():
        sizes = evidence.facts["params_m"].drop_nulls().sort().to_list()
        known = (
            f"all known sizes lie between {sizes[0]:.3g} and {sizes[-1]:.3g} M"
            if sizes
            else "no size is known"
        )
        return [Absent(f"no limit of {', '.join(f'{t:g}' for t in TIERS)} M parameters parts them: {known}.")]
    best = tiers.filter(pl.col("rank_in_tier") == 1).unique("max_params_m", keep="first", maintain_order=True)
    said = "; ".join(
        f"at most {limit:g} M: {name} (number {rank} of all)"
        for limit, name, rank in best.select("max_params_m", "backbone", "rank_of_all").iter_rows()
    )
    return [
        Text(
            f"The best within a limit of size: {said}. Z-scores are those among all backbones, as in the "
            "paper, whose small tier is below 30 M; backbones of unknown size are left out."
        ),
        Table(tiers.filter(pl.col("rank_in_tier") <= 3), "The best three of each size", "size_tiers"),
    ]


def same_architecture(evidence: ReportData) -> Sequence[Part]:
    """What pretraining is worth where all else is equal."""
    known = evidence.aggregate_ranking.drop_nulls("mean_zscore")
    groups = apples_to_apples(known, evidence.facts, data_factor=DATA_FACTOR)
    if groups.is_empty():
        return [
            Absent(
                "no two backbones share an architecture with pretraining sets within a factor of "
                f"{DATA_FACTOR:g} of each other."
            )
        ]
    groups = groups.join(evidence.facts.select("backbone", "method"), on="backbone", maintain_order="left")
    ends = groups.group_by("group", maintain_order=True).agg(
        pl.col("architecture").first(),
        best=pl.col("backbone").first(),
        gap=pl.col("mean_zscore").max() - pl.col("mean_zscore").min(),
    )
    widest = ends.sort("gap", "group", descending=[True, False]).row(0, named=True)
    return [
        Text(
            f"Backbones of one architecture whose pretraining sets differ by a factor of {DATA_FACTOR:g} at "
            f"most, so that what is left is the method. It matters most in {widest['architecture']}, where "
            f"{widest['best']} is {widest['gap']:.2f} ahead of the last in mean z-score."
        ),
        Table(
            groups.select(
                "architecture",
                "rank_in_group",
                "backbone",
                "method",
                "pretrain_images",
                "mean_zscore",
                "group",
            ),
            "Same architecture, comparable data",
            "apples_to_apples",
        ),
    ]


def protocols(evidence: ReportData) -> Sequence[Part]:
    """Linear probe against fine-tuning, where both were run on one dataset."""
    compared = compare_protocols(evidence.scores)
    families = gain_by_family(compared, evidence.facts)
    datasets = compared["dataset"].unique().sort().to_list()
    first = evidence.scores.filter(pl.col("task").str.starts_with("finetune@")).row(0, named=True)
    metric = METRICS[first["metric"]]
    scale, digits, unit = (100, ".1f", "points") if metric.bounds == (0.0, 1.0) else (1, ".3f", metric.name)
    sign = -1 if metric.direction == "min" else 1  # A gain is good; said is by how much the metric moves.
    gains = "; ".join(
        f"{family} {sign * scale * gain:+{digits}} {unit} and {moved:+.1f} places over {num} pairs"
        for family, gain, moved, num in families.iter_rows()
    )
    drawing = charts.against(
        compared,
        x="one",
        y="other",
        titles=("linear probe", "fine-tuned"),
        colour="backbone" if compared["backbone"].n_unique() <= charts.MAX_LINES else None,
        facet="dataset",
    )
    return [
        Text(
            f"On {', '.join(datasets)} backbones were both probed and fine-tuned. What fine-tuning adds, by "
            f"family, in {metric.name} and in rank: {gains}."
        ),
        Figure(
            drawing,
            f"{metric.name} fine-tuned over {metric.name} of a linear probe, on {', '.join(datasets)}.",
            f"{'Below' if sign < 0 else 'Above'} the dashed line fine-tuning is better than a linear probe.",
        ),
        Table(
            compared.rename({"one": "linear_probe", "other": "finetune"}),
            "Linear probe and fine-tuning",
            "protocols_compared",
        ),
        Table(families, "Gain from fine-tuning by family", "gain_by_family", is_folded=True),
    ]
