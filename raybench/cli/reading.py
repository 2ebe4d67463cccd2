"""`raybench rank` and `raybench report`: read what was measured."""

import argparse
from pathlib import Path

from raybench.cli import exits
from raybench.cli.options import Verbs
from raybench.cli.sources import add_criterion, add_rule, add_sources, criterion_of, results_of, rule_of


def add(verbs: Verbs) -> None:
    """Add `rank` and `report` to the command line."""
    rank = verbs.add_parser("rank", help="rank the backbones that were measured")
    add_sources(rank)
    add_criterion(rank)
    add_rule(rank)
    rank.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    rank.add_argument(
        "--intervals",
        action="store_true",
        help="add 95 %% bootstrap intervals of scores, z-scores and ranks, and P(best)",
    )
    rank.set_defaults(command=_rank)

    report = verbs.add_parser("report", help="write one HTML page: ranking, doubt, cost, robustness, search")
    add_sources(report)
    add_criterion(report)
    add_rule(report)
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    report.set_defaults(command=_report)


def _rank(arguments: argparse.Namespace) -> int:
    from raybench.report.terminal import rank_text

    text = rank_text(
        results_of(arguments),
        criterion_of(arguments),
        rule_of(arguments),
        output_format=arguments.format,
        with_intervals=arguments.intervals,
    )
    print(text)
    return exits.DONE


def _report(arguments: argparse.Namespace) -> int:
    from raybench.report.document import write_report

    write_report(results_of(arguments), arguments.output, criterion_of(arguments), rule_of(arguments))
    print(f"written   {arguments.output}")
    return exits.DONE
