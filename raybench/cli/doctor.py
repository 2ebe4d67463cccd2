"""Check that this machine is ready to run raybench (`raybench doctor`)."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from raybench.core.errors import RaybenchError
from raybench.store.files import StoragePath, is_local_path, local_folder, open_storage, parse_storage_path

REQUIRED = ("torch", "torchvision", "timm", "ray", "mlflow", "polars", "optuna", "torchmetrics", "kornia")
MIN_FREE_GIB = 2.0
"""Warn below this: even a small run is likely to fill the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Result of one check."""

    name: str
    is_ok: bool
    message: str


def diagnose(storage: str | StoragePath, tracking_uri: str | None) -> list[Check]:
    """Run all checks; nothing is changed, apart from a temporary probe file in the storage."""
    return [
        Check(name="python", is_ok=True, message=f"{platform.python_version()} on {platform.platform()}"),
        *(_check_package(name) for name in REQUIRED),
        _check_torch(),
        _check_ray(),
        _check_storage(storage),
        _check_tracking(storage, tracking_uri),
    ]


def _check_package(name: str) -> Check:
    try:
        return Check(name=name, is_ok=True, message=version(name))
    except PackageNotFoundError:
        return Check(name=name, is_ok=False, message="not installed; run `make install`.")


def _check_torch() -> Check:
    """Import torch and torchvision: mismatched builds, the most common broken installation, fail here."""
    try:
        import torch
        import torchvision  # noqa: F401 - importing is the check.
    except (ImportError, RuntimeError) as error:
        return Check(name="torch build", is_ok=False, message=f"{error}; install matching builds.")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    no_gpu = f"no GPU; {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    return Check(name="devices", is_ok=True, message=", ".join(names) or no_gpu)


def _check_ray() -> Check:
    address = os.environ.get("RAY_ADDRESS")
    return Check(name="ray cluster", is_ok=True, message=address or "none named; a local one is started")


def _check_storage(address: str | StoragePath) -> Check:
    from raybench.experiment.run import require_writable

    try:
        storage = open_storage(address)
        require_writable(storage)
        folder = local_folder(storage)
    except RaybenchError as error:
        return Check(name="storage", is_ok=False, message=str(error))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot create the cache folder {str(folder)!r} ({error.strerror})"
        return Check(name="storage", is_ok=False, message=f"{problem}; set RAYBENCH_CACHE to another.")
    free_gib = shutil.disk_usage(folder).free / 2**30
    copies = "" if is_local_path(storage) else f" for the local cache in {folder}"
    return Check(
        name="storage",
        is_ok=free_gib >= MIN_FREE_GIB,
        message=f"{storage} is writable, {free_gib:.1f} GiB free{copies}",
    )


def _check_tracking(address: str | StoragePath, uri: str | None) -> Check:
    from raybench.tracking.address import tracking_uri
    from raybench.tracking.probe import probe

    try:
        return Check(
            name="tracking", is_ok=True, message=probe(tracking_uri(parse_storage_path(address), uri))
        )
    except RaybenchError as error:
        return Check(name="tracking", is_ok=False, message=str(error))
