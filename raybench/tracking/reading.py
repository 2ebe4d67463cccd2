"""Results back from MLflow: the measurement tables that final trials' runs hold, exactly as they were.

Metrics would not do: their names cannot spell every condition, and they hold no number of examples. So each
final trial's run holds its rows as a file (`measurements.csv`), and this is what is read.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raybench.core.errors import EmptyInputError, RaybenchError, TrackingError, UnknownNameError
from raybench.core.registry import suggest
from raybench.tracking import connection
from raybench.tracking.address import sqlite_file, without_credentials
from raybench.tracking.content import MEASUREMENTS_FILE, MEASUREMENTS_TAG, PRETRAIN_IMAGES_TAG

PAGE = 1000
REQUEST_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What one storage has brought to one experiment of MLflow."""

    name: str
    """The address, without credentials; with the storage's id where several storages share the experiment."""
    tables: Sequence[str]
    """Measurement tables as CSV text, one per final trial."""
    spec: Mapping[str, Any]
    """As much of it as the runs tell: `name`, `backbones` and `tasks`."""


def read_tracked(uri: str, experiment: str | None = None) -> list[Tracked]:
    """The measurement tables of an experiment, one per storage that it was tracked from.

    Args:
        uri: tracking URI of a server or a database.
        experiment: its name; None takes the only one that raybench has tracked there.

    Raises:
        TrackingError: if the place refuses or is absent, or runs lack their table.
        UnknownNameError: if there is no such experiment.
        EmptyInputError: if no experiment is named and there is none, or several.
    """
    database = sqlite_file(uri)
    if database is not None and not database.is_file():
        raise TrackingError(f"no MLflow database at {str(database)!r}; give the one `raybench run` named.")
    connection.prepare_mlflow()
    from mlflow.tracking import MlflowClient  # Deferred: MLflow takes seconds to load.

    try:
        with connection.request_settings(REQUEST_SECONDS):
            client = MlflowClient(tracking_uri=uri)
            name, identity = _chosen(client, experiment, without_credentials(uri))
            return _by_storage(client, identity, name, without_credentials(uri))
    except RaybenchError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own.
        raise TrackingError(connection.refusal(uri, error)) from None  # The cause may spell out a password.


def _chosen(client: Any, experiment: str | None, place: str) -> tuple[str, str]:
    """Name and id."""
    known = {found.name: str(found.experiment_id) for found in client.search_experiments()}
    if experiment is not None:
        if experiment not in known:
            hint = suggest(experiment, known) or "."
            raise UnknownNameError(
                f"no experiment {experiment!r} at {place}{hint} It has {', '.join(sorted(known)) or 'none'}."
            )
        return experiment, known[experiment]
    tracked = [name for name, identity in known.items() if _has_runs(client, identity)]
    if len(tracked) != 1:
        what = f"{len(tracked)} experiments: {', '.join(sorted(tracked))}" if tracked else "no experiment"
        raise EmptyInputError(f"raybench has tracked {what} at {place}; choose one with `--experiment`.")
    return tracked[0], known[tracked[0]]


def _has_runs(client: Any, identity: str) -> bool:
    return bool(client.search_runs([identity], "tags.`raybench.kind` = 'pair'", max_results=1))


def _by_storage(client: Any, identity: str, name: str, place: str) -> list[Tracked]:
    pairs: dict[str, list[Mapping[str, str]]] = {}
    finals: dict[str, list[Any]] = {}
    for run in _runs(client, identity, "tags.`raybench.kind` = 'pair'"):
        pairs.setdefault(run.data.tags["raybench.storage_id"], []).append(run.data.tags)
    for run in _runs(client, identity, "tags.`raybench.kind` = 'trial' AND tags.`raybench.stage` = 'final'"):
        finals.setdefault(run.data.tags["raybench.storage_id"], []).append(run)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for storage_id in sorted(pairs):
            tables = [
                table
                for run in finals.get(storage_id, ())
                if (table := _table(client, run, Path(folder), place)) is not None
            ]
            found.append(
                Tracked(
                    name=place if len(pairs) == 1 else f"{place}#{storage_id}",
                    tables=tables,
                    spec=_spec(name, pairs[storage_id]),
                )
            )
    return found


def _runs(client: Any, identity: str, filter_string: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([identity], filter_string, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _table(client: Any, run: Any, folder: Path, place: str) -> str | None:
    """The run's rows; None if it has none: a failed trial, or one of an earlier winner."""
    count = run.data.tags.get(MEASUREMENTS_TAG)
    if count == "0" or (count is None and run.data.tags.get("raybench.status") != "completed"):
        return None
    remedy = "`raybench track STORAGE --tracking-uri …` brings it"
    if count is None:
        raise TrackingError(
            f"run {run.info.run_name!r} at {place} was tracked by a raybench that sent no table; {remedy}."
        )
    target = folder / run.info.run_id
    target.mkdir()
    try:
        client.download_artifacts(run.info.run_id, MEASUREMENTS_FILE, str(target))
        return (target / MEASUREMENTS_FILE).read_text(encoding="utf-8")
    except Exception as error:  # Of the artifact store, whichever it is.
        said = " ".join(without_credentials(str(error)).split())[:200] or type(error).__name__
        raise TrackingError(
            f"run {run.info.run_name!r} at {place} holds no {MEASUREMENTS_FILE} within reach ({said}); "
            f"{remedy}, if this machine reaches the server's artifacts."
        ) from None


def _spec(name: str, pairs: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {}
    for tags in pairs:
        backbone = tags["raybench.backbone"]
        rows[backbone] = {
            "name": backbone,
            "family": tags.get("raybench.family", "unknown"),
            "method": tags.get("raybench.method", "unknown"),
        }
        if images := tags.get(PRETRAIN_IMAGES_TAG):
            rows[backbone]["pretrain_images"] = int(images)
    tasks = sorted({tags["raybench.task"] for tags in pairs})
    return {"name": name, "backbones": [rows[backbone] for backbone in sorted(rows)], "tasks": tasks}
