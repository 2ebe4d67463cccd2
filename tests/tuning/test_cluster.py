"""Resources of trials on described clusters, and the settings of a local Ray; no Ray is started here."""

import math
import socket

import pytest
import ray

from raybench.core.errors import ResourceError
from raybench.tuning import cluster as subject
from raybench.tuning.cluster import Slots, num_slots, ray_session, resolve_resources
from raybench.tuning.job import ResourceDemand

PER_TRIAL = {"knn": (1.0, 0.125), "finetune": (2.0, 1.0)}
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
DEFAULTS, EXPLICIT = (False, False), (True, True)


def resolve(per_trial, is_explicit, *, kinds=(), wait_seconds=None, whole_gpu=(), **callbacks):
    """`resolve_resources` for a demand given by its fields; `is_explicit` is that of every kind of trial."""
    demand = ResourceDemand(
        per_trial=per_trial,
        is_explicit=dict.fromkeys(per_trial, is_explicit),
        kinds=kinds,
        wait_seconds=wait_seconds,
        whole_gpu=whole_gpu,
    )
    return resolve_resources(demand, **callbacks)


@pytest.fixture
def cluster(monkeypatch):
    """`cluster((cpus, gpus[, kind]), …)` sets the nodes that Ray reports; `dead` adds a dead node."""

    def set_up(*nodes: tuple, dead: tuple[float, float] | None = None) -> None:
        def described(cpus: float, gpus: float, kind: str = "", alive: bool = True) -> dict[str, object]:
            counts = {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})
            labels = {"ray.io/accelerator-type": kind} if kind else {}
            return {"Alive": alive, "Resources": counts, "Labels": labels}

        listed = [described(*node) for node in nodes]
        if dead is not None:
            listed.append(described(*dead, alive=False))
        monkeypatch.setattr(ray, "nodes", lambda: listed)

    return set_up


def test_a_large_node_gives_every_protocol_its_defaults(cluster):
    cluster((16, 4))
    assert resolve(PER_TRIAL, DEFAULTS) == PER_TRIAL


def test_without_a_gpu_anywhere_trials_run_on_the_cpu(cluster):
    cluster((16, 0))
    assert resolve(PER_TRIAL, DEFAULTS) == {"knn": (1.0, 0.0), "finetune": (2.0, 0.0)}


def test_defaults_are_clamped_to_the_machine(cluster):
    cluster((1, 0))
    assert resolve(PER_TRIAL, DEFAULTS) == {"knn": (1.0, 0.0), "finetune": (1.0, 0.0)}


def test_clamped_defaults_fit_one_node_where_cpus_and_gpus_are_on_different_nodes(cluster):
    """A trial runs on one node: the CPUs of one and the GPU of another do not add up."""
    cluster((64, 0), (1, 1))
    resolved = resolve(PER_TRIAL, DEFAULTS)
    assert all(any(c >= cpus and g >= gpus for c, g in ((64, 0), (1, 1))) for cpus, gpus in resolved.values())
    assert resolved["finetune"] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        ((3.0, 0.0), "asks for 3 CPUs and 0 GPUs"),
        ((1.0, 1.0), "asks for 1 CPUs and 1 GPUs"),
        ((0.5, 0.25), "asks for 0.5 CPUs and 0.25 GPUs"),
    ],
)
def test_an_explicit_request_that_no_node_can_meet_is_refused_with_the_list_of_nodes(
    cluster, requested, text
):
    cluster((2, 0), (2, 0))
    with pytest.raises(ResourceError) as caught:
        resolve({"knn": requested}, EXPLICIT)
    message = str(caught.value)
    assert message.startswith("a trial of 'knn' " + text)
    assert "(nodes: 2 CPUs + 0 GPUs, 2 CPUs + 0 GPUs)" in message
    assert "lower `resources` in the spec" in message


def test_an_explicit_request_is_not_met_by_two_nodes_together(cluster):
    cluster((8, 0), (1, 1))
    with pytest.raises(ResourceError, match="asks for 4 CPUs and 1 GPUs"):
        resolve({"finetune": (4.0, 1.0)}, EXPLICIT)


def test_explicit_cpus_leave_the_gpus_a_default(cluster):
    cluster((4, 0))
    assert resolve({"finetune": (4.0, 1.0)}, (True, False)) == {"finetune": (4.0, 0.0)}


MIXED = ((16, 4, "T4"), (8, 2, "A100"), (4, 1, "H100"))


def test_defaults_are_clamped_to_nodes_of_the_requested_kinds(cluster):
    """The largest node has GPUs too, but of another kind."""
    cluster(*MIXED)
    resolved = resolve({"finetune": (12.0, 1.0)}, (False, True), kinds=["A100", "H100"])
    assert resolved == {"finetune": (8.0, 1.0)}


def test_a_kind_that_no_node_has_is_refused_with_the_kinds_of_all_nodes(cluster):
    cluster(*MIXED)
    with pytest.raises(ResourceError) as caught:
        resolve({"finetune": (2.0, 1.0)}, (False, True), kinds=["L4", "a100"])
    assert str(caught.value) == (
        "a trial of 'finetune' asks for 2 CPUs and 1 GPUs of kind L4 or a100, but no node has that many "
        "(nodes: 16 CPUs + 4 GPUs (T4), 8 CPUs + 2 GPUs (A100), 4 CPUs + 1 GPUs (H100)); did you mean "
        "'A100'? Else name another kind in `resources.accelerators` or add a node of that kind "
        "(`--wait-for-resources` waits for one that is still to come)."
    )


def test_a_trial_without_gpus_runs_on_a_node_of_any_kind(cluster):
    cluster((16, 0), (2, 1, "A100"))
    resolved = resolve({"cpu": (12.0, 0.0), "gpu": (2.0, 1.0)}, (False, True), kinds=["A100"])
    assert resolved == {"cpu": (12.0, 0.0), "gpu": (2.0, 1.0)}


def test_an_explicit_request_for_no_gpu_is_kept_on_nodes_with_gpus(cluster):
    cluster((4, 8, "H100"))
    assert resolve({"finetune": (2.0, 0.0)}, (False, True)) == {"finetune": (2.0, 0.0)}


def test_slots_count_only_gpus_of_the_requested_kinds(cluster):
    cluster(*MIXED)
    assert num_slots({"finetune": (2.0, 1.0)}) == 7
    assert num_slots({"finetune": (2.0, 1.0)}, ["A100", "H100"]) == 3
    assert num_slots({"finetune": (2.0, 1.0), "cpu": (2.0, 0.0)}, ["A100", "H100"]) == 14


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(subject, "POLL_SECONDS", 0.01)


def test_an_explicit_request_waits_for_a_node_that_the_autoscaler_can_add(cluster, quick):
    cluster((0, 0))
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        cluster((0, 0), (8, 1))  # The node is added during the wait.

    resolved = resolve({"finetune": (4.0, 1.0)}, EXPLICIT, can_add=lambda resources: True, say=say)
    assert resolved == {"finetune": (4.0, 1.0)}
    assert lines == [
        "waiting for a node with 4 CPUs and 1 GPUs, for trials of 'finetune' "
        "(nodes now: 0 CPUs + 0 GPUs; at most 30 min)"
    ]


def test_a_default_of_a_gpu_waits_for_a_node_that_the_autoscaler_can_add(cluster, quick):
    cluster((8, 0))
    resolved = resolve(
        PER_TRIAL, DEFAULTS, can_add=lambda resources: True, say=lambda line: cluster((8, 0), (8, 1))
    )
    assert resolved == PER_TRIAL


def test_a_request_that_the_autoscaler_can_never_meet_is_refused_at_once(cluster):
    cluster((2, 0))
    with pytest.raises(ResourceError, match="the autoscaler has no kind of node that does"):
        resolve({"finetune": (4.0, 1.0)}, EXPLICIT, can_add=lambda resources: False, wait_seconds=3600)


def test_defaults_wait_for_a_cpu_node_where_the_autoscaler_has_no_gpus(cluster, quick):
    cluster((0, 0))
    resolved = resolve(
        {"finetune": (2.0, 1.0)},
        DEFAULTS,
        can_add=lambda resources: resources[1] == 0,
        say=lambda line: cluster((0, 0), (2, 0)),
    )
    assert resolved == {"finetune": (2.0, 0.0)}


def test_without_an_autoscaler_only_a_wait_set_by_the_user_waits(cluster, quick):
    cluster((0, 0))
    with pytest.raises(ResourceError, match="asks for 2 CPUs and 0 GPUs, but no node has that many"):
        resolve({"finetune": (2.0, 0.0)}, DEFAULTS)
    resolved = resolve(
        {"knn": (2.0, 0.0)}, EXPLICIT, wait_seconds=60, say=lambda line: cluster((0, 0), (4, 0))
    )
    assert resolved == {"knn": (2.0, 0.0)}


def test_a_request_is_refused_when_no_node_comes_in_time(cluster, quick):
    cluster((1, 0))
    with pytest.raises(ResourceError, match=r"and none has come within 0\.001 min"):
        resolve({"knn": (2.0, 0.0)}, EXPLICIT, wait_seconds=0.06)


def test_defaults_are_not_clamped_to_zero_cpus(cluster):
    cluster((0, 0), (4, 0))
    assert resolve({"knn": (1.0, 0.0)}, DEFAULTS) == {"knn": (1.0, 0.0)}
    cluster((0, 0))
    with pytest.raises(ResourceError, match="nodes: 0 CPUs"):
        resolve({"knn": (1.0, 0.0)}, DEFAULTS)


def test_slots_follow_nodes_that_are_added_and_removed(cluster, monkeypatch):
    monkeypatch.setattr(Slots, "REFRESH_SECONDS", 0.0)
    cluster((2, 0))
    fixed, growing = (Slots({"knn": (1.0, 0.0)}, may_grow=grows) for grows in (False, True))
    assert (fixed(), growing()) == (2, 4)
    cluster((2, 0), (6, 0))
    assert (fixed(), growing()) == (8, 16)
    cluster((1, 0))
    assert (fixed(), growing()) == (1, 2)


def test_a_dead_node_is_ignored(cluster):
    cluster((2, 0), dead=(64, 8))
    assert resolve(PER_TRIAL, DEFAULTS)["finetune"] == (2.0, 0.0)


@pytest.mark.parametrize(
    ("node", "per_trial", "slots"),
    [
        ((8, 0), {"knn": (1.0, 0.0)}, 8),
        ((8, 0), {"knn": (1.0, 0.0), "finetune": (2.0, 0.0)}, 8),
        ((8, 2), {"finetune": (2.0, 1.0)}, 2),
        ((8, 1), {"knn": (1.0, 0.125)}, 8),
        ((2, 0), {"knn": (0.5, 0.0)}, 4),
        ((1, 0), {"finetune": (2.0, 0.0)}, 1),
    ],
)
def test_slots_count_how_many_of_the_smallest_trials_fit(cluster, node, per_trial, slots):
    cluster(node)
    assert num_slots(per_trial) == slots
    assert math.isfinite(slots)


def test_a_ray_that_already_runs_is_used_and_left_running(monkeypatch):
    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda **kwargs: calls.append("init"))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    with ray_session():
        pass
    assert calls == []


@pytest.fixture
def fake_ray(monkeypatch):
    """Arguments of `ray.init`; the environment holds none of Ray's settings."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", LOOPBACK_ONLY):
        monkeypatch.setenv(name, "")  # So that monkeypatch undoes what the session sets.
        monkeypatch.delenv(name)
    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **kwargs: calls.append(kwargs))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    return calls


def test_a_local_ray_has_the_requested_cpus_and_no_dashboard_and_ends_with_the_block(fake_ray):
    with ray_session(num_cpus=3):
        assert fake_ray[0]["num_cpus"] == 3
        assert fake_ray[0]["include_dashboard"] is False
    assert fake_ray[1:] == ["shutdown"]


def test_a_local_ray_requires_a_new_token(fake_ray, monkeypatch):
    import os

    with ray_session():
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_joining_a_cluster_sets_neither_cpus_nor_loopback(fake_ray, monkeypatch):
    import os

    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: socket.socket())
    with ray_session(num_cpus=3):
        assert "num_cpus" not in fake_ray[0]
        assert LOOPBACK_ONLY not in os.environ  # It would keep this process from joining.


def test_a_local_ray_is_shut_down_when_the_block_fails(fake_ray):
    with pytest.raises(ZeroDivisionError), ray_session():
        raise ZeroDivisionError
    assert fake_ray[-1] == "shutdown"


@pytest.mark.parametrize(
    ("nodes", "share"),
    [
        ([(96, 8)], (12.0, 1.0)),
        ([(96, 8), (10, 4)], (2.0, 1.0)),
        ([(64, 0), (16, 1)], (16.0, 1.0)),
        ([(1, 2)], (1.0, 1.0)),
        ([(16, 0)], (1.0, 0.0)),
    ],
)
def test_the_features_stage_takes_a_whole_gpu_with_its_share_of_the_cpus(cluster, nodes, share):
    cluster(*nodes)
    per_trial = {"features": (1.0, 0.125), "knn": (1.0, 0.125)}
    resolved = resolve(per_trial, DEFAULTS, whole_gpu=("features",))
    assert resolved["features"] == share
    assert resolved["knn"] == (1.0, min(0.125, share[1]))


def test_cpus_that_the_spec_gives_the_features_stage_stay(cluster):
    cluster((96, 8))
    assert resolve({"features": (3.0, 0.125)}, (True, False), whole_gpu=("features",)) == {
        "features": (3.0, 1.0)
    }


def test_only_gpus_of_the_named_kinds_count(cluster):
    cluster((96, 8, "H100"), (8, 8, "A100"))
    resolved = resolve({"features": (1.0, 0.125)}, DEFAULTS, whole_gpu=("features",), kinds=("H100",))
    assert resolved == {"features": (12.0, 1.0)}
