"""The Ray cluster: start or join it, and find out what a trial gets on its nodes."""

import contextlib
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from raybench.core.errors import ResourceError
from raybench.tuning import accelerators
from raybench.tuning.connection import init_ray, require_reachable
from raybench.tuning.growth import Resources
from raybench.tuning.job import ResourceDemand

AUTOSCALER_WAIT_SECONDS = 30 * 60.0
"""How long to wait for a node that the autoscaler can add, unless the user sets `--wait-for-resources`."""
MESSAGE_INTERVAL_SECONDS = 60.0
POLL_SECONDS = 1.0


@contextlib.contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """Ray for the duration of the block: the cluster at RAY_ADDRESS if set, else a local one.

    A local Ray listens on loopback only, requires a token made for this session, and ends with the block.

    Raises:
        ResourceError: if the cluster cannot be reached within CONNECT_SECONDS, refuses within Ray's own two
            minutes, or a local one cannot be started.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    is_local = not address
    if is_local:
        # Ray 2.60 reads these when it is imported. Without a token in the environment it would write one
        # into the home directory.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Make Ray's servers listen on 127.0.0.1, as they do on macOS and Windows. On Linux they listen on
        # every address (measured on 2.60), whatever node address `ray.init` is given.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # Resuming reads the ledger, not Tune's state.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if is_local:
        os.environ.pop("RAY_ADDRESS", None)
        init_ray(num_cpus=num_cpus, include_dashboard=False)
    else:
        require_reachable(address)
        init_ray()
    try:
        yield
    finally:
        ray.shutdown()


def resolve_resources(
    demand: ResourceDemand,
    *,
    can_add: Callable[[Resources], bool | None] = lambda resources: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Resources]:
    """Kind of trial → (CPUs, GPUs) of one on this cluster; wait for nodes that are still to come.

    Defaults are clamped to the largest node (without any GPU, trials run on the CPU), unless
    the cluster can still add a node that fits them. Explicit requests of the spec are never clamped.

    Args:
        demand: what trials occupy, and how long to wait.
        can_add: whether the cluster can still add a node of that size; None if unknown.
        say: takes a line about the node that is waited for.

    Raises:
        ResourceError: naming the protocol, its resources and the cluster's nodes.
    """
    started = time.monotonic()
    resolved = {}
    for kind, resources in demand.per_trial.items():
        fit = _Fit(kind, resources, demand)
        resolved[kind] = _resolve(fit, started, can_add, say)
        if kind in demand.whole_gpu and resolved[kind][1]:
            resolved[kind] = fit.whole_gpu() or resolved[kind]
    return resolved


def _resolve(
    fit: "_Fit",
    started: float,
    can_add: Callable[[Resources], bool | None],
    say: Callable[[str], None],
) -> Resources:
    """Resources of one kind of trial: as requested if a node has them or will come, else clamped."""
    if (resources := fit.as_requested()) is not None:
        return resources
    is_coming = can_add(fit.requested)
    if is_coming:
        deadline = started + fit.wait_seconds(is_coming)
        if (resources := fit.wait(fit.as_requested, deadline, say)) is not None:
            return resources
    if (resources := fit.clamped()) is not None:
        return resources
    # No node fits even the clamped request: the cluster is empty, or its autoscaler has no GPUs to add.
    cpus, gpus = fit.requested
    if not is_coming and gpus and not fit.is_explicit[1]:
        is_coming = can_add((cpus, 0.0))
    if is_coming is not False:
        deadline = started + fit.wait_seconds(is_coming)
        if (resources := fit.wait(fit.clamped, deadline, say)) is not None:
            return resources
    raise fit.refusal(is_coming)


@dataclass(frozen=True)
class _Fit:
    """The requested resources of one kind of trial against the cluster's nodes."""

    trial: str
    requested: Resources
    demand: ResourceDemand

    @property
    def is_explicit(self) -> tuple[bool, bool]:
        """Whether the spec sets (CPUs, GPUs)."""
        return self.demand.is_explicit.get(self.trial, (False, False))

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of GPUs that its trials may run on; any if empty."""
        return self.demand.kinds if self.requested[1] else ()

    def as_requested(self) -> Resources | None:
        """The requested resources if a node has them, else None."""
        return self._if_fits(self.requested)

    def clamped(self) -> Resources | None:
        """The request with its defaults clamped to the largest node; None if no node fits that.

        Never zero CPUs for a request with CPUs: that would run trials on a head node meant to run none.
        """
        gpus, cpus = max(((node.gpus, node.cpus) for node in self._nodes()), default=(0.0, 0.0))
        has_explicit_cpus, has_explicit_gpus = self.is_explicit
        clamped = (
            self.requested[0] if has_explicit_cpus else min(self.requested[0], cpus),
            self.requested[1] if has_explicit_gpus else min(self.requested[1], gpus),
        )
        return self._if_fits(clamped) if clamped[0] or not self.requested[0] else None

    def whole_gpu(self) -> Resources | None:
        """One GPU and its share of the CPUs, on the node where that share is smallest; None without a GPU.

        CPUs that the spec sets stay as they are.
        """
        shares = [node.cpus // node.gpus for node in self._nodes() if node.gpus >= 1]
        if not shares:
            return None
        return self.requested[0] if self.is_explicit[0] else max(1.0, min(shares)), 1.0

    def wait_seconds(self, is_coming: bool | None) -> float:
        """How long to wait for a node: as the user says, else only if the autoscaler can add one."""
        if self.demand.wait_seconds is not None:
            return self.demand.wait_seconds
        return AUTOSCALER_WAIT_SECONDS if is_coming else 0.0

    def wait(
        self, attempt: Callable[[], Resources | None], deadline: float, say: Callable[[str], None]
    ) -> Resources | None:
        """Poll `attempt` until it returns resources; None once the deadline (monotonic clock) has passed."""
        last_message = -math.inf
        while (resources := attempt()) is None and time.monotonic() < deadline:
            if time.monotonic() - last_message >= MESSAGE_INTERVAL_SECONDS:
                minutes = max(1, round((deadline - time.monotonic()) / 60))
                say(
                    f"waiting for a node with {self._request_text()}, for trials of {self.trial!r} "
                    f"(nodes now: {_nodes_text()}; at most {minutes} min)"
                )
                last_message = time.monotonic()
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        return resources

    def refusal(self, is_coming: bool | None) -> ResourceError:
        """The error for a request that no node can meet."""
        why = "no node has that many"
        if is_coming is False:
            why += ", and the autoscaler has no kind of node that does"
        elif waited := self.wait_seconds(is_coming):
            why += f", and none has come within {waited / 60:g} min"
        hint = accelerators.near_miss(self.kinds, (node.kind for node in _nodes()))
        return ResourceError(
            f"a trial of {self.trial!r} asks for {self._request_text()}, but {why} "
            f"(nodes: {_nodes_text()}){hint + ' Else' if hint else ';'} {self._advice()}"
        )

    def _advice(self) -> str:
        change = (
            "name another kind in `resources.accelerators`" if self.kinds else "lower `resources` in the spec"
        )
        return (
            f"{change} or add a {'node of that kind' if self.kinds else 'larger node'} "
            "(`--wait-for-resources` waits for one that is still to come)."
        )

    def _request_text(self) -> str:
        cpus, gpus = self.requested
        return f"{cpus:g} CPUs and {gpus:g} GPUs{accelerators.kinds_text(self.kinds)}"

    def _nodes(self) -> "list[_Node]":
        """Nodes of a suitable kind."""
        return [node for node in _nodes() if not self.kinds or node.kind in self.kinds]

    def _if_fits(self, resources: Resources) -> Resources | None:
        cpus, gpus = resources
        return resources if any(n.cpus >= cpus and n.gpus >= gpus for n in self._nodes()) else None


@dataclass(frozen=True)
class _Node:
    """Total resources of a live node, whether in use or not."""

    cpus: float
    gpus: float
    kind: str
    """Kind of its GPUs."""

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs + {self.gpus:g} GPUs" + (f" ({self.kind})" if self.kind else "")


def _nodes() -> list[_Node]:
    import ray

    return [
        _Node(
            node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0), accelerators.kind_of(node)
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _nodes_text() -> str:
    return ", ".join(map(str, _nodes()))


def num_slots(per_trial: Mapping[str, Resources], kinds: Sequence[str] = ()) -> int:
    """How many of the smallest trials the cluster can run at once; at least one."""
    cpus, gpus = (min(resources[i] for resources in per_trial.values()) for i in range(2))
    nodes = [node for node in _nodes() if not (kinds and gpus) or node.kind in kinds]
    by_cpu = int(sum(node.cpus for node in nodes) / cpus) if cpus else 1_000
    by_gpu = int(sum(node.gpus for node in nodes) / gpus) if gpus else 1_000
    return max(1, min(by_cpu, by_gpu))


class Slots:
    """How many trials may run at once: as many as fit on the nodes that are there now.

    Twice as many where nodes may be added: an autoscaler adds nodes for trials that wait.
    """

    REFRESH_SECONDS = 2.0

    def __init__(
        self, per_trial: Mapping[str, Resources], *, may_grow: bool, kinds: Sequence[str] = ()
    ) -> None:
        self._per_trial = per_trial
        self._kinds = kinds
        self._factor = 2 if may_grow else 1
        self._counted_at = -math.inf
        self._count = 1

    def __call__(self) -> int:
        if time.monotonic() - self._counted_at >= self.REFRESH_SECONDS:
            self._count = self._factor * num_slots(self._per_trial, self._kinds)
            self._counted_at = time.monotonic()
        return self._count
