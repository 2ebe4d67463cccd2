"""What trials get of a cluster, on clusters described in words: no Ray is started here."""

import math

import pytest
import ray

from raybench.core.errors import ResourceError
from raybench.tuning import cluster as subject
from raybench.tuning.cluster import Slots, num_slots, ray_session, resolve_resources

WANTED = {"knn": (1.0, 0.125), "finetune": (2.0, 1.0)}
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
WISHES, DEMANDS = (False, False), (True, True)


@pytest.fixture
def cluster(monkeypatch):
    """`cluster((cpus, gpus[, kind]), …)`: the nodes Ray reports from now on; `dead` may be one more."""

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


def test_a_large_node_gives_every_protocol_what_it_wishes(cluster):
    cluster((16, 4))
    assert resolve_resources(WANTED, WISHES) == WANTED


def test_without_a_gpu_anywhere_trials_run_on_the_cpu(cluster):
    cluster((16, 0))
    assert resolve_resources(WANTED, WISHES) == {"knn": (1.0, 0.0), "finetune": (2.0, 0.0)}


def test_a_wish_is_cut_to_the_machine(cluster):
    cluster((1, 0))
    assert resolve_resources(WANTED, WISHES) == {"knn": (1.0, 0.0), "finetune": (1.0, 0.0)}


def test_a_wish_fits_a_single_node_even_where_cpus_and_gpus_are_apart(cluster):
    """A trial runs on one node: the CPUs of one and the GPU of another do not add up."""
    cluster((64, 0), (1, 1))
    settled = resolve_resources(WANTED, WISHES)
    assert all(any(c >= cpus and g >= gpus for c, g in ((64, 0), (1, 1))) for cpus, gpus in settled.values())
    assert settled["finetune"] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("demand", "asks"),
    [
        ((3.0, 0.0), "asks for 3 CPUs and 0 GPUs"),
        ((1.0, 1.0), "asks for 1 CPUs and 1 GPUs"),
        ((0.5, 0.25), "asks for 0.5 CPUs and 0.25 GPUs"),
    ],
)
def test_a_demand_no_node_can_meet_is_refused_with_the_nodes_there_are(cluster, demand, asks):
    cluster((2, 0), (2, 0))
    with pytest.raises(ResourceError) as caught:
        resolve_resources({"knn": demand}, DEMANDS)
    message = str(caught.value)
    assert message.startswith("a trial of 'knn' " + asks)
    assert "(nodes: 2 CPUs + 0 GPUs, 2 CPUs + 0 GPUs)" in message
    assert "lower `resources` in the spec" in message


def test_a_demand_is_not_met_by_two_nodes_together(cluster):
    cluster((8, 0), (1, 1))
    with pytest.raises(ResourceError, match="asks for 4 CPUs and 1 GPUs"):
        resolve_resources({"finetune": (4.0, 1.0)}, DEMANDS)


def test_a_demand_for_cpus_leaves_the_gpus_a_wish(cluster):
    cluster((4, 0))
    assert resolve_resources({"finetune": (4.0, 1.0)}, (True, False)) == {"finetune": (4.0, 0.0)}


MIXED = ((16, 4, "T4"), (8, 2, "A100"), (4, 1, "H100"))


def test_a_trial_is_cut_to_the_nodes_of_its_kinds(cluster):
    """The larger node has GPUs too, but not of a kind that will do."""
    cluster(*MIXED)
    settled = resolve_resources({"finetune": (12.0, 1.0)}, (False, True), kinds=["A100", "H100"])
    assert settled == {"finetune": (8.0, 1.0)}


def test_a_kind_that_no_node_has_is_refused_with_those_there_are(cluster):
    cluster(*MIXED)
    with pytest.raises(ResourceError) as caught:
        resolve_resources({"finetune": (2.0, 1.0)}, (False, True), kinds=["L4", "a100"])
    assert str(caught.value) == (
        "a trial of 'finetune' asks for 2 CPUs and 1 GPUs of kind L4 or a100, but no node has that many "
        "(nodes: 16 CPUs + 4 GPUs (T4), 8 CPUs + 2 GPUs (A100), 4 CPUs + 1 GPUs (H100)); did you mean "
        "'A100'? Else name another kind in `resources.accelerators` or add a node of that kind "
        "(`--wait-for-resources` waits for one that is still to come)."
    )


def test_a_trial_on_the_cpu_takes_any_node_whatever_the_kinds(cluster):
    cluster((16, 0), (2, 1, "A100"))
    settled = resolve_resources({"cpu": (12.0, 0.0), "gpu": (2.0, 1.0)}, (False, True), kinds=["A100"])
    assert settled == {"cpu": (12.0, 0.0), "gpu": (2.0, 1.0)}


def test_a_demand_for_no_gpu_is_kept_on_nodes_that_have_some(cluster):
    cluster((4, 8, "H100"))
    assert resolve_resources({"finetune": (2.0, 0.0)}, (False, True)) == {"finetune": (2.0, 0.0)}


def test_only_gpus_of_the_kinds_make_slots(cluster):
    cluster(*MIXED)
    assert num_slots({"finetune": (2.0, 1.0)}) == 7
    assert num_slots({"finetune": (2.0, 1.0)}, ["A100", "H100"]) == 3
    assert num_slots({"finetune": (2.0, 1.0), "cpu": (2.0, 0.0)}, ["A100", "H100"]) == 14


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(subject, "POLL_SECONDS", 0.01)


def test_a_demand_waits_for_the_node_that_the_autoscaler_promises(cluster, quick):
    cluster((0, 0))
    said = []

    def say(line: str) -> None:
        said.append(line)
        cluster((0, 0), (8, 1))  # The node comes while one waits.

    settled = resolve_resources({"finetune": (4.0, 1.0)}, DEMANDS, can_add=lambda resources: True, say=say)
    assert settled == {"finetune": (4.0, 1.0)}
    assert said == [
        "waiting for a node with 4 CPUs and 1 GPUs, for trials of 'finetune' "
        "(nodes now: 0 CPUs + 0 GPUs; at most 30 min)"
    ]


def test_a_wish_for_a_gpu_waits_where_one_can_still_come(cluster, quick):
    cluster((8, 0))
    settled = resolve_resources(
        WANTED, WISHES, can_add=lambda resources: True, say=lambda line: cluster((8, 0), (8, 1))
    )
    assert settled == WANTED


def test_what_the_autoscaler_can_never_bring_is_refused_at_once(cluster):
    cluster((2, 0))
    with pytest.raises(ResourceError, match="the autoscaler has no kind of node that does"):
        resolve_resources(
            {"finetune": (4.0, 1.0)}, DEMANDS, can_add=lambda resources: False, wait_seconds=3600
        )


def test_an_autoscaler_without_gpus_brings_cpus_for_a_wish(cluster, quick):
    cluster((0, 0))
    settled = resolve_resources(
        {"finetune": (2.0, 1.0)},
        WISHES,
        can_add=lambda resources: resources[1] == 0,
        say=lambda line: cluster((0, 0), (2, 0)),
    )
    assert settled == {"finetune": (2.0, 0.0)}


def test_without_an_autoscaler_one_waits_only_if_told_to(cluster, quick):
    cluster((0, 0))
    with pytest.raises(ResourceError, match="asks for 2 CPUs and 0 GPUs, but no node has that many"):
        resolve_resources({"finetune": (2.0, 0.0)}, WISHES)
    came = resolve_resources(
        {"knn": (2.0, 0.0)}, DEMANDS, wait_seconds=60, say=lambda line: cluster((0, 0), (4, 0))
    )
    assert came == {"knn": (2.0, 0.0)}


def test_a_node_that_does_not_come_in_time_is_told(cluster, quick):
    cluster((1, 0))
    with pytest.raises(ResourceError, match=r"nor has one come within 0\.001 min"):
        resolve_resources({"knn": (2.0, 0.0)}, DEMANDS, wait_seconds=0.06)


def test_a_head_without_cpus_gets_no_trials(cluster):
    cluster((0, 0), (4, 0))
    assert resolve_resources({"knn": (1.0, 0.0)}, WISHES) == {"knn": (1.0, 0.0)}
    cluster((0, 0))
    with pytest.raises(ResourceError, match="nodes: 0 CPUs"):
        resolve_resources({"knn": (1.0, 0.0)}, WISHES)


def test_trials_under_way_follow_the_nodes_that_come_and_go(cluster, monkeypatch):
    monkeypatch.setattr(Slots, "REFRESH_SECONDS", 0.0)
    cluster((2, 0))
    fixed, growing = (Slots({"knn": (1.0, 0.0)}, may_grow=grows) for grows in (False, True))
    assert (fixed(), growing()) == (2, 4)
    cluster((2, 0), (6, 0))
    assert (fixed(), growing()) == (8, 16)
    cluster((1, 0))
    assert (fixed(), growing()) == (1, 2)


def test_a_dead_node_has_nothing_to_give(cluster):
    cluster((2, 0), dead=(64, 8))
    assert resolve_resources(WANTED, WISHES)["finetune"] == (2.0, 0.0)


@pytest.mark.parametrize(
    ("node", "wanted", "slots"),
    [
        ((8, 0), {"knn": (1.0, 0.0)}, 8),
        ((8, 0), {"knn": (1.0, 0.0), "finetune": (2.0, 0.0)}, 8),
        ((8, 2), {"finetune": (2.0, 1.0)}, 2),
        ((8, 1), {"knn": (1.0, 0.125)}, 8),
        ((2, 0), {"knn": (0.5, 0.0)}, 4),
        ((1, 0), {"finetune": (2.0, 0.0)}, 1),
    ],
)
def test_as_many_trials_at_once_as_the_smallest_of_them_fit(cluster, node, wanted, slots):
    cluster(node)
    assert num_slots(wanted) == slots
    assert math.isfinite(slots)


def test_a_ray_that_is_up_already_is_used_and_left_running(monkeypatch):
    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda **kwargs: calls.append("init"))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    with ray_session():
        pass
    assert calls == []


@pytest.fixture
def fake_ray(monkeypatch):
    """What `ray.init` was called with; Ray's own settings are as if nobody had set them."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", LOOPBACK_ONLY):
        monkeypatch.setenv(name, "")  # So that monkeypatch puts back what the session sets.
        monkeypatch.delenv(name)
    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **kwargs: calls.append(kwargs))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    return calls


def test_a_local_ray_has_the_cpus_asked_for_no_dashboard_and_ends_with_the_block(fake_ray):
    with ray_session(num_cpus=3):
        assert fake_ray[0]["num_cpus"] == 3
        assert fake_ray[0]["include_dashboard"] is False
    assert fake_ray[1:] == ["shutdown"]


def test_a_local_ray_asks_for_a_token_of_its_own(fake_ray, monkeypatch):
    import os

    with ray_session():
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_named_cluster_is_joined_as_it_is(fake_ray, monkeypatch):
    import os

    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with ray_session(num_cpus=3):
        assert "num_cpus" not in fake_ray[0]
        assert LOOPBACK_ONLY not in os.environ  # It would keep this process from joining.


def test_a_local_ray_is_shut_down_when_the_block_fails(fake_ray):
    with pytest.raises(ZeroDivisionError), ray_session():
        raise ZeroDivisionError
    assert fake_ray[-1] == "shutdown"
