"""Options of the commands that read results: where from, by what to rank, by which rule."""

import argparse
from typing import TYPE_CHECKING

from raybench.cli.options import DEFAULT_STORAGE

if TYPE_CHECKING:
    from raybench.analysis.aggregate_ranking import RankingRule
    from raybench.report.gather.criteria import Criterion
    from raybench.report.gather.sources import Results

MISSING = ("refuse", "mean-of-rest", "zero", "common-tasks")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """SOURCE …, `--experiment`, `--tracking-uri`, `--prefer`."""
    group = parser.add_argument_group("where results come from")
    group.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="storages and CSV tables (FILE.csv), which are united; published:bob, which is ranked alone or "
        "put beside them (default: runs)",
    )
    group.add_argument("--experiment", help="only this experiment")
    group.add_argument("--tracking-uri", help="read what this MLflow server or database holds, too")
    group.add_argument(
        "--prefer",
        action="append",
        default=[],
        metavar="SOURCE",
        help="this source decides where several differ (repeatable); without it a difference is refused",
    )


def add_criterion(parser: argparse.ArgumentParser) -> None:
    """`--metric`, `--category`, `--condition`, `--task`."""
    group = parser.add_argument_group("what to rank by")
    group.add_argument("--metric", help="rank by this metric instead of each task's objective")
    group.add_argument("--category", help="rank by what an evaluator measured: calibration, shift, ...")
    group.add_argument("--condition", help="rank by measurements under this condition, not under `clean`")
    group.add_argument(
        "--task", action="append", default=[], help="only this task, e.g. 'linear_probe@*' (repeatable)"
    )


def add_rule(parser: argparse.ArgumentParser) -> None:
    """The choices that the paper's rule leaves open; defaults as `RankingRule`'s."""
    group = parser.add_argument_group("the rule's open choices")
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
        help="what weighs the same: every task (default), or every category and within it every task",
    )
    group.add_argument(
        "--without-random-init",
        action="store_true",
        help="leave backbones without pretraining out of means, deviations and ranking (default: in)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING,
        default="refuse",
        help="pairs without a score: refuse (default), average over the rest, count as z-score 0, or rank "
        "on the tasks that all backbones have",
    )
    group.add_argument(
        "--allow-missing",
        action="store_const",
        const="mean-of-rest",
        dest="missing",
        help="the same as --missing mean-of-rest: rank an incomplete table, marked as such",
    )
    group.add_argument(
        "--lower-is-better",
        choices=("turned", "as-is"),
        default="turned",
        help="turn the sign of such metrics' z-scores, so that higher is better (default), or leave it",
    )


def results_of(arguments: argparse.Namespace) -> "Results":
    """What the named sources hold together."""
    from raybench.report.gather.sources import Source, read_results

    tracked: list[Source] = []
    if arguments.tracking_uri:
        from raybench.report.gather.table_file import parse_tables
        from raybench.tracking.reading import read_tracked

        tracked = [
            Source(
                name=tracked.name,
                measurements=parse_tables(tracked.tables, tracked.name),
                specs=[tracked.spec],
                experiments=[tracked.spec["name"]],
            )
            for tracked in read_tracked(arguments.tracking_uri, arguments.experiment)
        ]
    addresses = arguments.sources or ([] if tracked else [DEFAULT_STORAGE])
    return read_results(addresses, experiment=arguments.experiment, prefer=arguments.prefer, extra=tracked)


def criterion_of(arguments: argparse.Namespace) -> "Criterion":
    """What to rank by."""
    from raybench.report.gather.criteria import Criterion

    return Criterion(
        metric=arguments.metric,
        category=arguments.category,
        condition=arguments.condition,
        tasks=tuple(arguments.task),
    )


def rule_of(arguments: argparse.Namespace) -> "RankingRule":
    """The rule with its choices."""
    from raybench.analysis.aggregate_ranking import RankingRule

    return RankingRule(
        deviation=arguments.deviation,
        mean=arguments.mean,
        with_random_init=not arguments.without_random_init,
        missing=arguments.missing.replace("-", "_"),
        lower_is_better=arguments.lower_is_better.replace("-", "_"),
    )
