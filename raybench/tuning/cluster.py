"""Joining or starting Ray, and refusing at once what no node of the cluster can ever run."""

import contextlib
import os
import secrets
from collections.abc import Iterator

from raybench.errors import ResourceError

Resources = tuple[float, float]
"""(CPUs, GPUs) of one trial."""


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """Ray for the duration: the cluster at RAY_ADDRESS if set, else a local one that ends with the block.

    A local Ray listens on loopback only and asks for a token made for this session.
    """
    is_local = "RAY_ADDRESS" not in os.environ
    if is_local:
        # Set before ray is imported: Ray 2.60 reads them then. Without a token of our own it would write
        # one into the home directory.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # The ledger is what a new start reads.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if is_local:
        ray.init(num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    else:
        ray.init(log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


def settle(wanted: dict[str, Resources], demanded: tuple[bool, bool]) -> dict[str, Resources]:
    """What a trial of each protocol gets on this cluster.

    A protocol's own wish is cut to the largest node (no GPU anywhere: it runs on the CPU). What the spec
    demands is given or refused, before anything waits for ever.

    Args:
        wanted: protocol → (CPUs, GPUs) per trial.
        demanded: whether the CPUs, the GPUs are the spec's demand.

    Raises:
        ResourceError: naming what asks, what it asks for and the nodes there are.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = max((node.get("GPU", 0.0), node.get("CPU", 0.0)) for node in nodes)
    settled = {}
    for name, (cpus, gpus) in wanted.items():
        cpus = cpus if demanded[0] else min(cpus, largest[1])
        gpus = gpus if demanded[1] else min(gpus, largest[0])
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            there_are = ", ".join(f"{n.get('CPU', 0):g} CPUs + {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise ResourceError(
                f"a trial of {name!r} asks for {cpus:g} CPUs and {gpus:g} GPUs, but no node has that many "
                f"(nodes: {there_are}); lower `resources` in the spec or add a larger node."
            )
        settled[name] = (cpus, gpus)
    return settled


def num_slots(wanted: dict[str, Resources]) -> int:
    """How many of the smallest trials the cluster can run at once; at least one."""
    import ray

    total = ray.cluster_resources()
    cpus, gpus = (min(w[i] for w in wanted.values()) for i in range(2))
    by_cpu = int(total.get("CPU", 1) / cpus) if cpus else 1_000
    by_gpu = int(total.get("GPU", 0) / gpus) if gpus else 1_000
    return max(1, min(by_cpu, by_gpu))
