"""`raybench rank` and `raybench report`: read what was measured."""

import argparse
from pathlib import Path

from raybench.cli import exits
from raybench.cli.options import DEFAULT_STORAGE, Verbs


def add(verbs: Verbs) -> None:
    """Add `rank` and `report` to the command line."""
    rank = verbs.add_parser("rank", help="rank the backbones measured in a storage")
    rank.add_argument(
        "storage", type=Path, nargs="?", default=DEFAULT_STORAGE, help="a storage, or published:bob"
    )
    rank.add_argument("--experiment", help="only this experiment")
    rank.add_argument("--metric", help="rank by this metric instead of each task's objective")
    rank.add_argument("--category", help="rank by what an evaluator measured: calibration, shift, ...")
    rank.add_argument("--condition", help="rank by measurements under this condition, not under `clean`")
    rank.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    rank.add_argument("--allow-missing", action="store_true", help="rank an incomplete table, marked as such")
    rank.add_argument(
        "--deviation",
        choices=("sample", "population"),
        default="sample",
        help="standard deviation of the z-scores: by n - 1 (default) or by n",
    )
    rank.set_defaults(command=_rank)

    report = verbs.add_parser("report", help="write one HTML page: ranking, doubt, cost, robustness, search")
    report.add_argument(
        "sources", nargs="*", default=[str(DEFAULT_STORAGE)], help="storages, or published:bob"
    )
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    report.add_argument("--experiment", help="only this experiment")
    report.add_argument("--allow-missing", action="store_true", help="rank an incomplete table, marked")
    report.set_defaults(command=_write_report)


def _rank(arguments: argparse.Namespace) -> int:
    from raybench.report.published import PREFIX, rank_published
    from raybench.report.terminal import rank_storage

    ddof = int(arguments.deviation == "sample")
    if str(arguments.storage).startswith(PREFIX):
        print(rank_published(str(arguments.storage), output_format=arguments.format, ddof=ddof))
        return exits.DONE
    print(
        rank_storage(
            arguments.storage,
            experiment=arguments.experiment,
            metric=arguments.metric,
            category=arguments.category,
            condition=arguments.condition,
            output_format=arguments.format,
            allow_missing=arguments.allow_missing,
            ddof=ddof,
        )
    )
    return exits.DONE


def _write_report(arguments: argparse.Namespace) -> int:
    from raybench.report.document import write_report

    write_report(
        arguments.sources,
        arguments.output,
        experiment=arguments.experiment,
        allow_missing=arguments.allow_missing,
    )
    print(f"written   {arguments.output}")
    return exits.DONE
