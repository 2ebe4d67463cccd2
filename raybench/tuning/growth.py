"""Ask Ray's autoscaler whether it can add a node of some size.

Autoscaler v2 (KubeRay's default) lists in the cluster's state the requests that it can never meet. Ray 2.60
has no public interface to that state. Where it cannot be read the answer is unknown, and then raybench
neither refuses nor waits.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from raybench.tuning.accelerators import selector

LOG = logging.getLogger(__name__)

Resources = tuple[float, float]
"""(CPUs, GPUs) of one trial."""

ANSWER_SECONDS = 30.0
"""How long to wait for an answer; the autoscaler reads requests every 5 seconds."""
POLL_SECONDS = 0.5


class Autoscaler:
    """The autoscaler of the cluster that this process has joined. `release` withdraws its requests."""

    def __init__(self) -> None:
        self._has_requested = False
        self._gcs: Any = None

    @property
    def is_available(self) -> bool:
        """Whether the cluster has an autoscaler that can be asked."""
        return self._client() is not None

    def can_add(self, resources: Resources, kinds: Sequence[str] = ()) -> bool | None:
        """Whether the cluster has, or can add, a node with (CPUs, GPUs of one of the kinds); None if unknown.

        The autoscaler begins to add the node and keeps it until `release`.
        """
        client = self._client()
        if client is None:
            return None
        from ray.autoscaler.sdk import request_resources

        bundle = {name: count for name, count in zip(("CPU", "GPU"), resources, strict=True) if count}
        try:
            requested_version = _state(client).cluster_resource_state.cluster_resource_state_version
            selectors = [selector(kinds) if kinds and resources[1] else {}]
            request_resources(bundles=[bundle], bundle_label_selectors=selectors)
            self._has_requested = True
            deadline = time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < deadline:
                answer = _state(client).autoscaling_state
                if answer.last_seen_cluster_resource_state_version > requested_version:
                    return not any(request == bundle for request in _infeasible(answer))
                time.sleep(POLL_SECONDS)
        except Exception as error:  # A private interface may raise anything; the answer is unknown then.
            LOG.debug("the state of the autoscaler cannot be read: %s", error)
        return None

    def release(self) -> None:
        """Withdraw the request, so that idle nodes may be removed."""
        if self._has_requested:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[])
            self._has_requested = False

    def _client(self) -> Any:
        if self._gcs is None:
            try:
                import ray
                from ray._raylet import GcsClient  # type: ignore[attr-defined]
                from ray.autoscaler.v2.utils import is_autoscaler_v2

                if ray.is_initialized() and is_autoscaler_v2():
                    self._gcs = GcsClient(ray.get_runtime_context().gcs_address)
            except Exception as error:  # As in `can_add`.
                LOG.debug("the autoscaler cannot be reached: %s", error)
        return self._gcs


@contextmanager
def autoscaler() -> Iterator[Autoscaler]:
    """The cluster's autoscaler; its requests are withdrawn at the end of the block."""
    scaler = Autoscaler()
    try:
        yield scaler
    finally:
        scaler.release()


def _state(client: Any) -> Any:
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=10))
    return reply


def _infeasible(state: Any) -> Iterator[dict[str, float]]:
    for constraint in state.infeasible_cluster_resource_constraints:
        for request in constraint.resource_requests:
            yield dict(request.request.resources_bundle)
