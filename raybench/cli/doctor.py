"""Is this machine ready? Each check says what it found, so that its output can be pasted into an issue."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from raybench.core.errors import RaybenchError
from raybench.store.files import StoragePath, is_local_path, local_folder, open_storage, parse_storage_path

REQUIRED = ("torch", "torchvision", "timm", "ray", "mlflow", "polars", "optuna", "torchmetrics", "kornia")
MIN_FREE_GIB = 2.0
"""Below this a run of any size is likely to fill the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check's result."""

    what: str
    is_ok: bool
    says: str


def diagnose(storage: str | StoragePath, tracking_uri: str | None) -> list[Finding]:
    """All checks, none of which changes anything but a probe file in the storage."""
    return [
        Finding(what="python", is_ok=True, says=f"{platform.python_version()} on {platform.platform()}"),
        *(_check_package(name) for name in REQUIRED),
        _check_torch(),
        _check_ray(),
        _check_storage(storage),
        _check_tracking(storage, tracking_uri),
    ]


def _check_package(name: str) -> Finding:
    try:
        return Finding(what=name, is_ok=True, says=version(name))
    except PackageNotFoundError:
        return Finding(what=name, is_ok=False, says="not installed; run `make install`.")


def _check_torch() -> Finding:
    """torch and torchvision of different builds fail at import, the commonest broken installation."""
    try:
        import torch
        import torchvision  # noqa: F401 - importing is the check.
    except (ImportError, RuntimeError) as error:
        return Finding(what="torch build", is_ok=False, says=f"{error}; install matching builds.")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    says = ", ".join(names) if names else f"no GPU; {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    return Finding(what="devices", is_ok=True, says=says)


def _check_ray() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    return Finding(what="ray cluster", is_ok=True, says=address or "none named; a local one is started")


def _check_storage(address: str | StoragePath) -> Finding:
    from raybench.experiment.run import require_writable

    try:
        storage = open_storage(address)
        require_writable(storage)
        folder = local_folder(storage)
    except RaybenchError as error:
        return Finding(what="storage", is_ok=False, says=str(error))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        says = f"no copies can lie in {str(folder)!r} ({error.strerror}); let RAYBENCH_CACHE name another."
        return Finding(what="storage", is_ok=False, says=says)
    free_gib = shutil.disk_usage(folder).free / 2**30
    copies = "" if is_local_path(storage) else f" for this machine's copies in {folder}"
    return Finding(
        what="storage",
        is_ok=free_gib >= MIN_FREE_GIB,
        says=f"{storage} is writable, {free_gib:.1f} GiB free{copies}",
    )


def _check_tracking(address: str | StoragePath, uri: str | None) -> Finding:
    from raybench.tracking.address import tracking_uri
    from raybench.tracking.probe import probe

    try:
        return Finding(
            what="tracking", is_ok=True, says=probe(tracking_uri(parse_storage_path(address), uri))
        )
    except RaybenchError as error:
        return Finding(what="tracking", is_ok=False, says=str(error))
