"""Joining or starting Ray, waiting for nodes that are to come, and refusing what no node can ever run."""

import contextlib
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from raybench.core.errors import ResourceError
from raybench.tuning import accelerators
from raybench.tuning.growth import Resources

PROMISED_SECONDS = 30 * 60.0
"""How long a node that the autoscaler can add is awaited, unless the user says otherwise."""
SAY_SECONDS = 60.0
POLL_SECONDS = 1.0


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
        # What Ray does by itself on macOS and Windows: its servers listen on 127.0.0.1. On Linux they would
        # listen on every address (measured on 2.60), whatever node address `ray.init` is given.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
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


def resolve_resources(
    wanted: dict[str, Resources],
    demanded: tuple[bool, bool],
    *,
    kinds: Sequence[str] = (),
    can_add: Callable[[Resources], bool | None] = lambda resources: None,
    wait_seconds: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Resources]:
    """What a trial of each protocol gets on this cluster; returns when there is a node for each.

    A protocol's own wish is cut to the largest node (no GPU anywhere: it runs on the CPU), unless a larger
    one can still come. What the spec demands is given or refused, before anything waits for ever.

    Args:
        wanted: protocol → (CPUs, GPUs) per trial.
        demanded: whether the CPUs, the GPUs are the spec's demand.
        kinds: the kinds of GPUs that will do, any if empty; trials without GPUs take every node.
        can_add: whether a node of that size can still come; None: nobody knows.
        wait_seconds: how long to wait for nodes that are not there yet. None: for those that `can_add`
            promises `PROMISED_SECONDS`, for others not at all.
        say: takes a line about what is waited for.

    Raises:
        ResourceError: naming what asks, what it asks for and the nodes there are.
    """
    started = time.monotonic()

    def settle_one(name: str, wish: Resources) -> Resources:
        fit = _Fit(name, wish, demanded, tuple(kinds) if wish[1] else ())
        if (found := fit.as_wished()) is not None:
            return found
        promise = can_add(wish)
        patience = wait_seconds if wait_seconds is not None else PROMISED_SECONDS if promise else 0.0
        deadline = started + patience
        if promise and (found := fit.wait(fit.as_wished, deadline, say)) is not None:
            return found
        if (found := fit.cut_to_the_largest()) is not None:
            return found
        # A cluster that is still empty, or an autoscaler without GPUs: any node that takes a trial will do.
        if not promise and wish[1] and not demanded[1]:
            promise = can_add((wish[0], 0.0))
        if promise is not False:
            patience = wait_seconds if wait_seconds is not None else PROMISED_SECONDS if promise else 0.0
            deadline = started + patience
            if (found := fit.wait(fit.cut_to_the_largest, deadline, say)) is not None:
                return found
        raise fit.refusal(promise, patience)

    return {name: settle_one(name, wish) for name, wish in wanted.items()}


@dataclass(frozen=True)
class _Fit:
    """Whether the nodes there are can hold a trial of one protocol."""

    name: str
    wish: Resources
    demanded: tuple[bool, bool]
    kinds: tuple[str, ...] = ()

    def as_wished(self) -> Resources | None:
        return self._if_held(self.wish)

    def cut_to_the_largest(self) -> Resources | None:
        """The wish cut to the largest node; never to no CPU at all, which would be a head without trials."""
        gpus, cpus = max(((node.gpus, node.cpus) for node in self._nodes()), default=(0.0, 0.0))
        cut = (
            self.wish[0] if self.demanded[0] else min(self.wish[0], cpus),
            self.wish[1] if self.demanded[1] else min(self.wish[1], gpus),
        )
        return self._if_held(cut) if cut[0] or not self.wish[0] else None

    def wait(
        self, attempt: Callable[[], Resources | None], deadline: float, say: Callable[[str], None]
    ) -> Resources | None:
        """What `attempt` gives at last; None once the deadline (of the monotonic clock) has passed."""
        said_at = -math.inf
        while (found := attempt()) is None and time.monotonic() < deadline:
            if time.monotonic() - said_at >= SAY_SECONDS:
                minutes = max(1, round((deadline - time.monotonic()) / 60))
                say(
                    f"waiting for a node with {self._wish_in_words()}, for trials of {self.name!r} "
                    f"(nodes now: {_nodes_in_words()}; at most {minutes} min)"
                )
                said_at = time.monotonic()
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        return found

    def refusal(self, promise: bool | None, waited: float) -> ResourceError:
        if promise is False:
            why = "no node has that many, and the autoscaler has no kind of node that does"
        elif waited:
            why = f"no node has that many, nor has one come within {waited / 60:g} min"
        else:
            why = "no node has that many"
        hint = accelerators.near_miss(self.kinds, (node.kind for node in _nodes()))
        return ResourceError(
            f"a trial of {self.name!r} asks for {self._wish_in_words()}, but {why} "
            f"(nodes: {_nodes_in_words()}){hint + ' Else' if hint else ';'} {self._advice()}"
        )

    def _advice(self) -> str:
        change = (
            "name another kind in `resources.accelerators`" if self.kinds else "lower `resources` in the spec"
        )
        return (
            f"{change} or add a {'node of that kind' if self.kinds else 'larger node'} "
            "(`--wait-for-resources` waits for one that is still to come)."
        )

    def _wish_in_words(self) -> str:
        return f"{self.wish[0]:g} CPUs and {self.wish[1]:g} GPUs{accelerators.in_words(self.kinds)}"

    def _nodes(self) -> "list[_Node]":
        """Those of a kind that will do."""
        return [node for node in _nodes() if not self.kinds or node.kind in self.kinds]

    def _if_held(self, resources: Resources) -> Resources | None:
        is_held = any(node.cpus >= resources[0] and node.gpus >= resources[1] for node in self._nodes())
        return resources if is_held else None


@dataclass(frozen=True)
class _Node:
    """What a live node has in all, whether free or taken."""

    cpus: float
    gpus: float
    kind: str
    """Of its GPUs."""

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


def _nodes_in_words() -> str:
    return ", ".join(map(str, _nodes()))


def num_slots(wanted: dict[str, Resources], kinds: Sequence[str] = ()) -> int:
    """How many of the smallest trials the cluster can run at once; at least one."""
    cpus, gpus = (min(w[i] for w in wanted.values()) for i in range(2))
    nodes = [node for node in _nodes() if not (kinds and gpus) or node.kind in kinds]
    by_cpu = int(sum(node.cpus for node in nodes) / cpus) if cpus else 1_000
    by_gpu = int(sum(node.gpus for node in nodes) / gpus) if gpus else 1_000
    return max(1, min(by_cpu, by_gpu))


class Slots:
    """How many trials may be under way: as many as fit, on a cluster whose nodes come and go.

    Where more nodes may come, as many again are started: trials that wait are what an autoscaler goes by.
    """

    REFRESH_SECONDS = 2.0

    def __init__(self, wanted: dict[str, Resources], *, may_grow: bool, kinds: Sequence[str] = ()) -> None:
        self._wanted = wanted
        self._kinds = kinds
        self._factor = 2 if may_grow else 1
        self._counted_at = -math.inf
        self._count = 1

    def __call__(self) -> int:
        if time.monotonic() - self._counted_at >= self.REFRESH_SECONDS:
            self._count = self._factor * num_slots(self._wanted, self._kinds)
            self._counted_at = time.monotonic()
        return self._count
