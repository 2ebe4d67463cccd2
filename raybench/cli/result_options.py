"""Options of `rank`, `report` and `recommend`: sources, ranking criterion, ranking rule."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from raybench.catalog.published import MACHINES
from raybench.cli.options import DEFAULT_STORAGE, at_least_one

if TYPE_CHECKING:
    from raybench.analysis.aggregate_ranking import RankingRule
    from raybench.report.gather.criteria import Criterion
    from raybench.report.gather.limits import Limits
    from raybench.report.gather.sources import Results

MISSING = ("refuse", "mean-of-rest", "zero", "common-tasks")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add SOURCE …, `--experiment`, `--tracking-uri`, `--prefer`."""
    group = parser.add_argument_group("sources of results")
    group.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="storages and CSV tables (FILE.csv), which are merged; published:bob, :timm or :mieb, which are "
        "ranked alone or compared with them (default: runs)",
    )
    group.add_argument("--experiment", help="only this experiment")
    group.add_argument("--tracking-uri", help="also read the results on this MLflow server or database")
    group.add_argument(
        "--prefer",
        action="append",
        default=[],
        metavar="SOURCE",
        help="use this source where sources differ (repeatable); without it a difference is an error",
    )


def add_criterion(parser: argparse.ArgumentParser) -> None:
    """Add `--metric`, `--category`, `--condition`, `--task`."""
    group = parser.add_argument_group("what to rank by")
    group.add_argument("--metric", help="rank by this metric instead of each task's objective")
    group.add_argument("--category", help="rank by an evaluator's headline metric: calibration, shift, ...")
    group.add_argument("--condition", help="rank by measurements under this condition instead of `clean`")
    group.add_argument(
        "--task", action="append", default=[], help="only this task, e.g. 'linear_probe@*' (repeatable)"
    )


LIMITS = (
    ("--max-params", "params_m", "at most N million parameters"),
    ("--min-throughput", "images_per_second", "at least N images per second"),
    ("--max-latency", "latency_ms", "at most N milliseconds for one image"),
    ("--max-memory", "peak_memory_mib", "at most N MiB of memory at inference"),
    ("--max-flops", "flops_g", "at most N GFLOPs per image"),
)
"""(Option, column with the backbone's value, help); `--min-…` are lower limits."""


def add_limits(parser: argparse.ArgumentParser, *, top: int | None) -> None:
    """Add the limits of size and cost, `--machine` and `--top`."""
    group = parser.add_argument_group("limits (backbones are ranked among all, then shown if within them)")
    for option, column, help_text in LIMITS:
        group.add_argument(option, dest=column, type=_positive, metavar="N", help=help_text)
    group.add_argument(
        "--machine",
        choices=tuple(MACHINES),
        help="use the throughputs that published:timm states for this machine: "
        + "; ".join(f"{name}: {text}" for name, text in MACHINES.items()),
    )
    group.add_argument(
        "--top",
        type=at_least_one,
        default=top,
        help=f"number of backbones to print (default: {top or 'all'})",
    )


def limits_of(arguments: argparse.Namespace) -> "Limits":
    """Build the limits from the options."""
    from raybench.report.gather.limits import Limits

    options = {
        column: (option, value)
        for option, column, _ in LIMITS
        if (value := getattr(arguments, column)) is not None
    }
    return Limits(
        at_most={column: value for column, (option, value) in options.items() if option.startswith("--max")},
        at_least={column: value for column, (option, value) in options.items() if option.startswith("--min")},
    )


def _positive(text: str) -> float:
    """Parse an option's value as a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def add_rule(parser: argparse.ArgumentParser) -> None:
    """Add the choices that the paper's rule leaves open; defaults as in `RankingRule`."""
    group = parser.add_argument_group("open choices of the ranking rule")
    group.add_argument(
        "--deviation",
        choices=("sample", "population"),
        default="sample",
        help="standard deviation of the z-scores: by n - 1 (default) or by n",
    )
    group.add_argument(
        "--mean",
        choices=("micro", "macro"),
        default="micro",
        help="equal weight per task (default: micro), or per category and per task within it (macro)",
    )
    group.add_argument(
        "--without-random-init",
        action="store_true",
        help="exclude backbones without pretraining from means, deviations and ranking",
    )
    group.add_argument(
        "--missing",
        choices=MISSING,
        default="refuse",
        help="pairs without a score: refuse (default), average over the rest, count as z-score 0, or rank "
        "on the tasks that all backbones share",
    )
    group.add_argument(
        "--allow-missing",
        action="store_const",
        const="mean-of-rest",
        dest="missing",
        help="same as --missing mean-of-rest: rank an incomplete table, marked as incomplete",
    )
    group.add_argument(
        "--lower-is-better",
        choices=("turned", "as-is"),
        default="turned",
        help="negate z-scores of metrics where lower is better (default: turned), or leave them",
    )


def results_of(arguments: argparse.Namespace) -> "Results":
    """Read and merge the results of all named sources."""
    from raybench.report.gather.sources import Source, read_results

    tracked: list[Source] = []
    if arguments.tracking_uri:
        from raybench.report.gather.table_file import parse_tables
        from raybench.tracking.tracked_results import read_tracked

        tracked = [
            Source(
                name=entry.name,
                measurements=parse_tables(entry.tables, entry.name),
                specs=[entry.spec],
                experiments=[entry.spec["name"]],
            )
            for entry in read_tracked(arguments.tracking_uri, arguments.experiment)
        ]
    addresses = arguments.sources or ([] if tracked else [DEFAULT_STORAGE])
    results = read_results(addresses, experiment=arguments.experiment, prefer=arguments.prefer, extra=tracked)
    return replace(results, machine=getattr(arguments, "machine", None) or "")


def criterion_of(arguments: argparse.Namespace) -> "Criterion":
    """Build the ranking criterion from the options."""
    from raybench.report.gather.criteria import Criterion

    return Criterion(
        metric=arguments.metric,
        category=arguments.category,
        condition=arguments.condition,
        tasks=tuple(arguments.task),
    )


def rule_of(arguments: argparse.Namespace) -> "RankingRule":
    """Build the ranking rule from the options."""
    from raybench.analysis.aggregate_ranking import RankingRule

    return RankingRule(
        deviation=arguments.deviation,
        mean=arguments.mean,
        with_random_init=not arguments.without_random_init,
        missing=arguments.missing.replace("-", "_"),
        lower_is_better=arguments.lower_is_better.replace("-", "_"),
    )
