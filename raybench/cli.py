"""The command line: run · plan · rank · report · list · ui · track · cache · doctor.

Exit codes: 0 all pairs measured; 1 finished, but some pairs failed (each is named with its reason);
2 bad input, nothing was started; 3 the storage takes no writes; 130 interrupted, 143 ended by SIGTERM. After
3, 130 and 143 what was measured is kept, and the same command goes on.

Imports are deferred into the commands: `rank` and `list` start without torch, Ray or MLflow.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raybench import __version__
from raybench.errors import RaybenchError, StorageUnavailableError

if TYPE_CHECKING:
    from raybench.run import Outcome

EXIT_DONE, EXIT_FAILED_PAIRS, EXIT_BAD_INPUT, EXIT_STORAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = (
    0,
    1,
    2,
    3,
    130,
    143,
)
DEFAULT_STORAGE = Path("runs")
LISTINGS = (
    "backbones",
    "groups",
    "datasets",
    "tasks",
    "protocols",
    "spaces",
    "budgets",
    "metrics",
    "evaluators",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `raybench`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except StorageUnavailableError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return EXIT_STORAGE
    except RaybenchError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("raybench: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raybench", description="Which pretrained vision backbone should I use?", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"raybench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    run = verbs.add_parser("run", help="run an experiment, or what is left of it")
    run.add_argument("spec", type=Path, help="experiment file, e.g. experiments/quickstart.yaml")
    _storage_option(run)
    run.add_argument(
        "--tracking-uri", help="MLflow server (default: $MLFLOW_TRACKING_URI, else SQLite in the storage)"
    )
    run.add_argument("--num-cpus", type=_at_least_one, help="CPUs of a local Ray (default: all)")
    run.set_defaults(command=_run)

    plan = verbs.add_parser("plan", help="print what an experiment would do, without starting anything")
    plan.add_argument("spec", type=Path)
    plan.set_defaults(command=_plan)

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

    listing = verbs.add_parser("list", help="print a catalogue")
    listing.add_argument("what", choices=LISTINGS)
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(command=_list)

    ui = verbs.add_parser("ui", help="open the MLflow UI of a storage on this machine")
    ui.add_argument("storage", type=Path, nargs="?", default=DEFAULT_STORAGE)
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(command=_ui)

    track = verbs.add_parser("track", help="rebuild the MLflow experiments of a storage from its results")
    track.add_argument("storage", type=Path, nargs="?", default=DEFAULT_STORAGE)
    track.add_argument("--experiment", help="only this experiment")
    track.add_argument("--tracking-uri")
    track.set_defaults(command=_track)

    cache = verbs.add_parser("cache", help="say how much the feature store holds, or empty it")
    cache.add_argument("storage", type=Path, nargs="?", default=DEFAULT_STORAGE)
    cache.add_argument(
        "--clear", action="store_true", help="delete all features; they are computed anew when needed"
    )
    cache.set_defaults(command=_cache)

    doctor = verbs.add_parser("doctor", help="check versions, devices, storage and tracking server")
    _storage_option(doctor)
    doctor.add_argument("--tracking-uri")
    doctor.set_defaults(command=_doctor)
    return parser


_EPILOG = (
    "Exit codes: 0 all pairs measured, 1 some pairs failed, 2 bad input, 3 storage full or away, "
    "130 interrupted, 143 ended by SIGTERM."
)


def _storage_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage", type=Path, default=DEFAULT_STORAGE, help="folder of results and features (default: runs)"
    )


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from raybench.run import run_experiment
    from raybench.spec import load_spec, make_plan

    spec = load_spec(arguments.spec)
    print(make_plan(spec).render(), flush=True)
    outcome = run_experiment(
        spec, arguments.storage, tracking_uri=arguments.tracking_uri, num_cpus=arguments.num_cpus
    )
    return _report(arguments, spec.name, outcome)


def _report(arguments: argparse.Namespace, experiment: str, outcome: "Outcome") -> int:
    """Say what came out, where it is, and how to go on."""
    storage = arguments.storage
    if outcome.measured:
        from raybench.report.terminal import rank_storage

        print(rank_storage(storage, experiment=experiment, allow_missing=True))
    if outcome.num_trials_run == 0 and not outcome.is_interrupted:
        print("Nothing was left to run: every pair of this spec is already measured in this storage.")
    for note in outcome.notes:
        print(f"note      {note}")
    print(f"\nresults   {storage}/measurements   (raybench rank {storage})")
    if outcome.tracking_uri.startswith("sqlite"):
        print(f"tracking  {storage}/mlflow.db   (raybench ui {storage})")
    print(f"recipes   {storage}/experiments/{experiment}/recipes   (raybench run RECIPE.yaml --storage …)")
    if outcome.unsent:
        print(
            f"{len(outcome.unsent)} trials have not reached the tracking server; nothing is lost: "
            f"`raybench track {storage}` sends them."
        )
    if outcome.is_interrupted:
        print(
            f"Interrupted. What was measured is kept; "
            f"`raybench run {arguments.spec} --storage {storage}` goes on."
        )
        return EXIT_TERMINATED if outcome.is_terminated else EXIT_INTERRUPTED
    for pair, reason in outcome.failed.items():
        print(f"failed    {pair.task} · {pair.backbone}: {reason}", file=sys.stderr)
    return EXIT_FAILED_PAIRS if outcome.failed else EXIT_DONE


def _plan(arguments: argparse.Namespace) -> int:
    from raybench.spec import load_spec, make_plan

    print(make_plan(load_spec(arguments.spec)).render())
    return EXIT_DONE


def _rank(arguments: argparse.Namespace) -> int:
    from raybench.report.published import PREFIX, rank_published
    from raybench.report.terminal import rank_storage

    ddof = int(arguments.deviation == "sample")
    if str(arguments.storage).startswith(PREFIX):
        print(rank_published(str(arguments.storage), output_format=arguments.format, ddof=ddof))
        return EXIT_DONE
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
    return EXIT_DONE


def _write_report(arguments: argparse.Namespace) -> int:
    from raybench.report.document import write_report

    write_report(
        arguments.sources,
        arguments.output,
        experiment=arguments.experiment,
        allow_missing=arguments.allow_missing,
    )
    print(f"written   {arguments.output}")
    return EXIT_DONE


def _list(arguments: argparse.Namespace) -> int:
    from raybench.catalog.listing import listing
    from raybench.report.columns import aligned

    rows = listing(arguments.what)
    print(json.dumps(rows, indent=1) if arguments.json else aligned(rows))
    return EXIT_DONE


def _ui(arguments: argparse.Namespace) -> int:
    from raybench.tracking.ui import serve

    return serve(arguments.storage, port=arguments.port)


def _track(arguments: argparse.Namespace) -> int:
    from raybench import ledger
    from raybench.tracking import rebuild

    names = [arguments.experiment] if arguments.experiment else ledger.experiments(arguments.storage)
    if not names:
        print(f"raybench: {arguments.storage} holds no experiment.", file=sys.stderr)
        return EXIT_BAD_INPUT
    for name in names:
        refused = rebuild(arguments.storage, name, arguments.tracking_uri)
        print(f"{name}: {'up to date' if not refused else f'{len(refused)} trials refused by MLflow'}")
    return EXIT_DONE


def _cache(arguments: argparse.Namespace) -> int:
    from raybench.features.store import FeatureStore

    store = FeatureStore(arguments.storage / "features")
    entries = store.entries()
    mebibytes = store.size_bytes() / 2**20
    print(f"{len(entries)} feature sets, {mebibytes:.1f} MiB in {arguments.storage}/features")
    if arguments.clear:
        store.clear()
        print("emptied.")
    return EXIT_DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from raybench.doctor import diagnose

    findings = diagnose(arguments.storage, arguments.tracking_uri)
    for finding in findings:
        print(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.what}: {finding.says}")
    return EXIT_DONE if all(finding.is_ok for finding in findings) else EXIT_FAILED_PAIRS


if __name__ == "__main__":
    sys.exit(main())
