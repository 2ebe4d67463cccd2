"""What a cluster can still become: Ray's autoscaler is asked whether it can add a node of some size.

Autoscaler v2 (KubeRay's default) says in the cluster's state which of the nodes asked for it can never bring.
That state has no public interface in Ray 2.60; where it cannot be read, nothing is known, and nothing is
refused or awaited because of it.
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
"""An autoscaler looks at what is asked of it every 5 seconds."""
POLL_SECONDS = 0.5


class Autoscaler:
    """Asks the autoscaler of the Ray this process has joined. `release` withdraws what was asked for."""

    def __init__(self) -> None:
        self._has_asked = False
        self._gcs: Any = None

    @property
    def is_there(self) -> bool:
        """Whether the cluster has an autoscaler that can be asked."""
        return self._client() is not None

    def can_add(self, resources: Resources, kinds: Sequence[str] = ()) -> bool | None:
        """Whether a node that holds (CPUs, GPUs of one of the kinds) is there or can still come.

        None: nobody knows. The autoscaler begins to bring one, and keeps it until `release`.
        """
        client = self._client()
        if client is None:
            return None
        from ray.autoscaler.sdk import request_resources

        bundle = {name: count for name, count in zip(("CPU", "GPU"), resources, strict=True) if count}
        try:
            asked_at = _state(client).cluster_resource_state.cluster_resource_state_version
            selectors = [selector(kinds) if kinds and resources[1] else {}]
            request_resources(bundles=[bundle], bundle_label_selectors=selectors)
            self._has_asked = True
            give_up = time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < give_up:
                answer = _state(client).autoscaling_state
                if answer.last_seen_cluster_resource_state_version > asked_at:
                    return not any(request == bundle for request in _infeasible(answer))
                time.sleep(POLL_SECONDS)
        except Exception as error:  # Not Ray's public interface: whatever it raises, nothing is known.
            LOG.debug("the autoscaler cannot be asked: %s", error)
        return None

    def release(self) -> None:
        """Ask for nothing any more: nodes that idle may go."""
        if self._has_asked:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[])
            self._has_asked = False

    def _client(self) -> Any:
        if self._gcs is None:
            try:
                import ray
                from ray._raylet import GcsClient  # type: ignore[attr-defined]
                from ray.autoscaler.v2.utils import is_autoscaler_v2

                if ray.is_initialized() and is_autoscaler_v2():
                    self._gcs = GcsClient(ray.get_runtime_context().gcs_address)
            except Exception as error:  # As above.
                LOG.debug("the autoscaler cannot be reached: %s", error)
        return self._gcs


@contextmanager
def autoscaler() -> Iterator[Autoscaler]:
    """The cluster's autoscaler; afterwards nothing is asked of it any more."""
    asked = Autoscaler()
    try:
        yield asked
    finally:
        asked.release()


def _state(client: Any) -> Any:
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=10))
    return reply


def _infeasible(state: Any) -> Iterator[dict[str, float]]:
    for constraint in state.infeasible_cluster_resource_constraints:
        for request in constraint.resource_requests:
            yield dict(request.request.resources_bundle)
