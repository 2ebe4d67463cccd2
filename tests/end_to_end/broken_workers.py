"""A `RAY_RUNTIME_ENV_HOOK` of Ray that breaks every worker of a run."""

from typing import Any


def raise_in_protocol() -> None:
    """kNN raises an exception that is neither raybench's own nor out of memory."""
    from raybench.evaluation import knn

    def broken(*arguments: Any) -> None:
        raise KeyError("a bug of mine")

    knn.knn = broken


def with_broken_protocol(runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    return {**(runtime_env or {}), "worker_process_setup_hook": f"{__name__}.raise_in_protocol"}
