"""Tracking URIs: the one of a storage, and how to print a URI without its credentials."""

import os
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from raybench.core.errors import TrackingError
from raybench.store import layout
from raybench.store.files import StoragePath, local_folder, read_bytes, write_if_absent


def tracking_uri(storage: StoragePath, option: str | None = None) -> str:
    """The tracking URI: the option, else `MLFLOW_TRACKING_URI`, else SQLite in the storage.

    SQLite needs a local file: for a bucket it is in this machine's cache folder of that storage, and
    `raybench track` rebuilds it on any other machine.

    >>> tracking_uri(Path("/data/out"), "http://mlflow:5000")
    'http://mlflow:5000'

    Raises:
        TrackingError: if the path of the SQLite file cannot be written as an address.
    """
    if uri := option or os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    database = layout.mlflow_database(_folder(storage))
    if broken := [character for character in "?#%" if character in str(database)]:
        raise TrackingError(
            f"MLflow cannot write to {str(database)!r}: the address of a SQLite file must not hold "
            f"{broken[0]!r}; rename the folder, or name a server by `--tracking-uri`."
        )
    return f"sqlite:///{database}"


def artifact_root(storage: StoragePath) -> Path:
    """Folder of MLflow's artifacts; a tracking server has its own."""
    return layout.mlflow_artifacts_dir(_folder(storage))


def is_server(uri: str) -> bool:
    """True for a tracking server, False for a database that this process writes to directly."""
    return urlsplit(uri).scheme in ("http", "https", "databricks", "databricks-uc")


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI; None for any other.

    >>> sqlite_file("sqlite:////data/out/mlflow.db")
    PosixPath('/data/out/mlflow.db')
    """
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def without_credentials(text: str) -> str:
    """Remove user names, passwords and query strings from every URI in `text`.

    >>> without_credentials("no answer from https://me:secret@mlflow.example/x?token=1 after 8 s")
    'no answer from https://mlflow.example/x after 8 s'
    """
    # The last @ before the host ends the credentials: an unquoted password may hold an @ of its own.
    text = re.sub(r"([a-zA-Z][\w+.-]*://)[^\s/'\"]*@", r"\1", text)
    return re.sub(r"([a-zA-Z][\w+.-]*://[^\s?'\"]*)\?[^\s'\")]*", r"\1", text)


def storage_id(storage: StoragePath) -> str:
    """Random id of a storage, created at the first call.

    Two people may run one spec against one server: trial ids are equal then, and only this id tells
    their runs apart.
    """
    path = layout.storage_id_file(storage)
    try:
        name = read_bytes(path)
    except FileNotFoundError:
        name = write_if_absent(path, f"{secrets.token_hex(6)}\n".encode())
    return name.decode().strip()


def _folder(storage: StoragePath) -> Path:
    return local_folder(storage).resolve()
