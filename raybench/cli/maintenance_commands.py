"""`raybench list`, `ui`, `track`, `cache` and `doctor`: catalogue, MLflow UI and maintenance."""

import argparse
import json
import sys

from raybench.cli import exit_codes
from raybench.cli.options import Verbs, storage_argument, storage_option, tcp_port

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


def add(verbs: Verbs) -> None:
    """Add `list`, `ui`, `track`, `cache` and `doctor` to the command line."""
    listing = verbs.add_parser("list", help="print a catalogue")
    listing.add_argument("what", choices=LISTINGS)
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(command=_list)

    ui = verbs.add_parser("ui", help="open the MLflow UI of a storage on this machine")
    storage_argument(ui)
    ui.add_argument("--port", type=tcp_port, default=5000, help="TCP port (default: 5000)")
    ui.set_defaults(command=_ui)

    track = verbs.add_parser("track", help="rebuild the MLflow experiments of a storage from its results")
    storage_argument(track)
    track.add_argument("--experiment", help="only this experiment")
    track.add_argument("--tracking-uri")
    track.set_defaults(command=_track)

    cache = verbs.add_parser("cache", help="print the size of the feature store, or empty it")
    storage_argument(cache)
    cache.add_argument(
        "--clear", action="store_true", help="delete all features; they are recomputed when needed"
    )
    cache.set_defaults(command=_cache)

    doctor = verbs.add_parser("doctor", help="check versions, devices, storage and tracking server")
    storage_option(doctor)
    doctor.add_argument("--tracking-uri")
    doctor.set_defaults(command=_doctor)


def _list(arguments: argparse.Namespace) -> int:
    from raybench.catalog.listing import listing, load_plugins
    from raybench.report.render.columns import aligned

    rows = listing(arguments.what)
    print(json.dumps(rows, indent=1) if arguments.json else aligned(rows))
    for failure in load_plugins():
        print(f"raybench: {failure}", file=sys.stderr)
    return exit_codes.DONE


def _ui(arguments: argparse.Namespace) -> int:
    from raybench.store.files import open_storage
    from raybench.tracking.ui import serve

    return serve(open_storage(arguments.storage), port=arguments.port)


def _track(arguments: argparse.Namespace) -> int:
    from raybench.core.errors import UnknownNameError
    from raybench.core.registry import suggest
    from raybench.store import ledger
    from raybench.store.files import open_storage
    from raybench.tracking import rebuild

    storage = open_storage(arguments.storage)
    known = ledger.experiments(storage)
    if arguments.experiment and arguments.experiment not in known:
        hint = suggest(arguments.experiment, known) or "."
        raise UnknownNameError(
            f"no experiment {arguments.experiment!r} in {str(storage)!r}{hint} "
            f"It holds {', '.join(known) or 'none'}."
        )
    names = [arguments.experiment] if arguments.experiment else known
    if not names:
        print(f"raybench: {storage} holds no experiment.", file=sys.stderr)
        return exit_codes.BAD_INPUT
    for name in names:
        refused = rebuild(storage, name, arguments.tracking_uri)
        print(f"{name}: {'up to date' if not refused else f'{len(refused)} trials refused by MLflow'}")
    return exit_codes.DONE


def _cache(arguments: argparse.Namespace) -> int:
    from raybench.core.errors import StorageError
    from raybench.features.store import FeatureStore
    from raybench.store.files import open_storage
    from raybench.store.layout import features_dir

    storage = open_storage(arguments.storage)
    if not storage.is_dir():
        raise StorageError(f"no storage at {str(storage)!r}; give the folder that `raybench run` named.")
    store = FeatureStore(features_dir(storage))
    entries = store.entries()
    mebibytes = store.size_bytes() / 2**20
    print(f"{len(entries)} feature sets, {mebibytes:.1f} MiB in {store.root}")
    if arguments.clear:
        store.clear()
        if left := store.size_bytes():
            print(
                f"raybench: {len(store.entries())} feature sets, {left / 2**20:.1f} MiB are left in "
                f"{store.root}: they cannot be deleted, or were written meanwhile.",
                file=sys.stderr,
            )
            return exit_codes.STORAGE
        print("emptied.")
    return exit_codes.DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from raybench.cli.doctor import diagnose

    checks = diagnose(arguments.storage, arguments.tracking_uri)
    for check in checks:
        print(f"{'ok  ' if check.is_ok else 'FAIL'}  {check.name}: {check.message}")
    return exit_codes.DONE if all(check.is_ok for check in checks) else exit_codes.FAILED_PAIRS
