"""Read results back from MLflow: the rows of the measurement table that final trials' runs hold.

MLflow's metrics are not enough: their names cannot spell every condition, and they hold no number of
examples. So each final trial's run has its rows as a file (`measurements.csv`), and this file is read.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raybench.core.errors import EmptyInputError, RaybenchError, TrackingError, UnknownNameError
from raybench.core.registry import suggest
from raybench.tracking import connection
from raybench.tracking.address import sqlite_file, without_credentials
from raybench.tracking.run_content import MEASUREMENTS_FILE, MEASUREMENTS_TAG, PRETRAIN_IMAGES_TAG
from raybench.tracking.run_writer import search_runs

REQUEST_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class TrackedResults:
    """Results that one storage has sent to one MLflow experiment."""

    name: str
    """The URI without credentials; with `#` and the storage's id if several storages share the experiment."""
    tables: Sequence[str]
    """Measurement tables as CSV text, one per final trial."""
    spec: Mapping[str, Any]
    """The parts of the spec that runs hold: `name`, `backbones` and `tasks`."""


def read_tracked(uri: str, experiment: str | None = None) -> list[TrackedResults]:
    """Results of an experiment, one entry per storage that sent some.

    Args:
        uri: tracking URI of a server or a database.
        experiment: its name; None takes the only one that raybench has tracked there.

    Raises:
        TrackingError: if MLflow refuses or does not answer, or runs lack their table.
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
            public_uri = without_credentials(uri)
            name, experiment_id = _choose_experiment(client, experiment, public_uri)
            return _results_by_storage(client, experiment_id, name, public_uri)
    except RaybenchError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy and requests raise their own types.
        raise TrackingError(connection.refusal(uri, error)) from None  # The cause may contain a password.


def _choose_experiment(client: Any, experiment: str | None, public_uri: str) -> tuple[str, str]:
    """(Name, id) of the named experiment, or of the only one."""
    ids = {entry.name: str(entry.experiment_id) for entry in client.search_experiments()}
    if experiment is not None:
        if experiment not in ids:
            hint = suggest(experiment, ids) or "."
            raise UnknownNameError(
                f"no experiment {experiment!r} at {public_uri}{hint} "
                f"It has {', '.join(sorted(ids)) or 'none'}."
            )
        return experiment, ids[experiment]
    tracked = [name for name, experiment_id in ids.items() if _has_pairs(client, experiment_id)]
    if len(tracked) != 1:
        what = f"{len(tracked)} experiments: {', '.join(sorted(tracked))}" if tracked else "no experiment"
        raise EmptyInputError(f"raybench has tracked {what} at {public_uri}; choose one with `--experiment`.")
    return tracked[0], ids[tracked[0]]


def _has_pairs(client: Any, experiment_id: str) -> bool:
    return bool(client.search_runs([experiment_id], "tags.`raybench.kind` = 'pair'", max_results=1))


def _results_by_storage(client: Any, experiment_id: str, name: str, public_uri: str) -> list[TrackedResults]:
    pairs = _runs_by_storage(client, experiment_id, "tags.`raybench.kind` = 'pair'")
    finals = _runs_by_storage(
        client, experiment_id, "tags.`raybench.kind` = 'trial' AND tags.`raybench.stage` = 'final'"
    )
    with tempfile.TemporaryDirectory() as folder:
        return [
            TrackedResults(
                name=public_uri if len(pairs) == 1 else f"{public_uri}#{storage_id}",
                tables=[
                    _download_table(client, run, Path(folder), public_uri)
                    for run in finals[storage_id]
                    if _has_table(run, public_uri)
                ],
                spec=_spec(name, [run.data.tags for run in pairs[storage_id]]),
            )
            for storage_id in sorted(pairs)
        ]


def _runs_by_storage(client: Any, experiment_id: str, filter_string: str) -> dict[str, list[Any]]:
    runs = defaultdict(list)
    for run in search_runs(client, experiment_id, filter_string):
        runs[run.data.tags["raybench.storage_id"]].append(run)
    return runs


def _has_table(run: Any, public_uri: str) -> bool:
    """False for a failed trial and for a trial of an earlier winner.

    Raises:
        TrackingError: if an earlier raybench tracked the run, without a table.
    """
    count = run.data.tags.get(MEASUREMENTS_TAG)
    if count is None and run.data.tags.get("raybench.status") == "completed":
        raise TrackingError(
            f"run {run.info.run_name!r} at {public_uri} was tracked by a raybench that sent no table; "
            "`raybench track STORAGE --tracking-uri …` brings it."
        )
    return count not in (None, "0")


def _download_table(client: Any, run: Any, folder: Path, public_uri: str) -> str:
    target = folder / run.info.run_id
    target.mkdir()
    try:
        client.download_artifacts(run.info.run_id, MEASUREMENTS_FILE, str(target))
        return (target / MEASUREMENTS_FILE).read_text(encoding="utf-8")
    except Exception as error:  # Artifact stores raise their own types.
        message = " ".join(without_credentials(str(error)).split())[:200] or type(error).__name__
        raise TrackingError(
            f"run {run.info.run_name!r} at {public_uri} holds no {MEASUREMENTS_FILE} within reach "
            f"({message}); `raybench track STORAGE --tracking-uri …` brings it, if this machine "
            "reaches the server's artifacts."
        ) from None


def _spec(name: str, pair_tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The spec as far as the tags of pairs' runs hold it."""
    rows: dict[str, dict[str, Any]] = {}
    for tags in pair_tags:
        backbone = tags["raybench.backbone"]
        rows[backbone] = {
            "name": backbone,
            "family": tags.get("raybench.family", "unknown"),
            "method": tags.get("raybench.method", "unknown"),
        }
        if images := tags.get(PRETRAIN_IMAGES_TAG):
            rows[backbone]["pretrain_images"] = int(images)
    tasks = sorted({tags["raybench.task"] for tags in pair_tags})
    return {"name": name, "backbones": [rows[backbone] for backbone in sorted(rows)], "tasks": tasks}
