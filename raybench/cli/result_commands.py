"""`raybench rank`, `report` and `recommend`: read measured results."""

import argparse
from pathlib import Path

from raybench.cli import exit_codes
from raybench.cli.options import Verbs
from raybench.cli.result_options import (
    add_criterion,
    add_limits,
    add_rule,
    add_sources,
    criterion_of,
    limits_of,
    results_of,
    rule_of,
)


def add(verbs: Verbs) -> None:
    """Add `rank`, `report` and `recommend` to the command line."""
    rank = verbs.add_parser("rank", help="rank the measured backbones")
    add_sources(rank)
    add_criterion(rank)
    add_rule(rank)
    add_limits(rank, top=None)
    rank.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    rank.add_argument(
        "--intervals",
        action="store_true",
        help="add 95 %% bootstrap intervals of scores, z-scores and ranks, and P(best)",
    )
    rank.set_defaults(command=_rank)

    report = verbs.add_parser(
        "report", help="write one HTML page: ranking, uncertainty, cost, robustness, search"
    )
    add_sources(report)
    add_criterion(report)
    add_rule(report)
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    report.set_defaults(command=_report)

    recommend = verbs.add_parser(
        "recommend",
        help="print the best backbones within limits of size and cost, with reasons and uncertainty",
    )
    add_sources(recommend)
    add_criterion(recommend)
    add_limits(recommend, top=3)
    add_rule(recommend)
    recommend.add_argument("--format", choices=("table", "json", "markdown"), default="table")
    recommend.set_defaults(command=_recommend)


def _rank(arguments: argparse.Namespace) -> int:
    from raybench.report.render.terminal import rank_text

    text = rank_text(
        results_of(arguments),
        criterion_of(arguments),
        rule_of(arguments),
        output_format=arguments.format,
        with_intervals=arguments.intervals,
        limits=limits_of(arguments),
        top=arguments.top,
    )
    print(text)
    return exit_codes.DONE


def _report(arguments: argparse.Namespace) -> int:
    from raybench.report.document import write_report

    write_report(results_of(arguments), arguments.output, criterion_of(arguments), rule_of(arguments))
    print(f"written   {arguments.output}")
    return exit_codes.DONE


def _recommend(arguments: argparse.Namespace) -> int:
    from raybench.report.gather.recommendation import recommend_from
    from raybench.report.render.recommendation_text import recommendation_text

    recommendation = recommend_from(
        results_of(arguments),
        limits_of(arguments),
        criterion_of(arguments),
        rule_of(arguments),
        top=arguments.top,
    )
    print(recommendation_text(recommendation, output_format=arguments.format))
    return exit_codes.DONE
