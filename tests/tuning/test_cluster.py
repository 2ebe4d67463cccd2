"""What trials get of a cluster, on clusters described in words: no Ray is started here."""

import math

import pytest
import ray

from raybench.errors import ResourceError
from raybench.tuning.cluster import num_slots, ray_session, settle

WANTED = {"knn": (1.0, 0.125), "finetune": (2.0, 1.0)}
WISHES, DEMANDS = (False, False), (True, True)


@pytest.fixture
def cluster(monkeypatch):
    """`cluster((cpus, gpus), …)`: the nodes Ray reports from now on; the last argument may be a dead one."""

    def set_up(*nodes: tuple[float, float], dead: tuple[float, float] | None = None) -> None:
        def described(cpus: float, gpus: float, alive: bool = True) -> dict[str, object]:
            counts = {"CPU": float(cpus)} | ({"GPU": float(gpus)} if gpus else {})
            return {"Alive": alive, "Resources": counts}

        listed = [described(*node) for node in nodes]
        if dead is not None:
            listed.append(described(*dead, alive=False))
        totals = {"CPU": float(sum(n[0] for n in nodes)), "GPU": float(sum(n[1] for n in nodes))}
        monkeypatch.setattr(ray, "nodes", lambda: listed)
        monkeypatch.setattr(ray, "cluster_resources", lambda: totals)

    return set_up


def test_a_large_node_gives_every_protocol_what_it_wishes(cluster):
    cluster((16, 4))
    assert settle(WANTED, WISHES) == WANTED


def test_without_a_gpu_anywhere_trials_run_on_the_cpu(cluster):
    cluster((16, 0))
    assert settle(WANTED, WISHES) == {"knn": (1.0, 0.0), "finetune": (2.0, 0.0)}


def test_a_wish_is_cut_to_the_machine(cluster):
    cluster((1, 0))
    assert settle(WANTED, WISHES) == {"knn": (1.0, 0.0), "finetune": (1.0, 0.0)}


def test_a_wish_fits_a_single_node_even_where_cpus_and_gpus_are_apart(cluster):
    """A trial runs on one node: the CPUs of one and the GPU of another do not add up."""
    cluster((64, 0), (1, 1))
    settled = settle(WANTED, WISHES)
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
        settle({"knn": demand}, DEMANDS)
    message = str(caught.value)
    assert message.startswith("a trial of 'knn' " + asks)
    assert "(nodes: 2 CPUs + 0 GPUs, 2 CPUs + 0 GPUs)" in message
    assert "lower `resources` in the spec" in message


def test_a_demand_is_not_met_by_two_nodes_together(cluster):
    cluster((8, 0), (1, 1))
    with pytest.raises(ResourceError, match="asks for 4 CPUs and 1 GPUs"):
        settle({"finetune": (4.0, 1.0)}, DEMANDS)


def test_a_demand_for_cpus_leaves_the_gpus_a_wish(cluster):
    cluster((4, 0))
    assert settle({"finetune": (4.0, 1.0)}, (True, False)) == {"finetune": (4.0, 0.0)}


def test_a_dead_node_has_nothing_to_give(cluster):
    cluster((2, 0), dead=(64, 8))
    assert settle(WANTED, WISHES)["finetune"] == (2.0, 0.0)


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
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
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
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with ray_session(num_cpus=3):
        assert "num_cpus" not in fake_ray[0]


def test_a_local_ray_is_shut_down_when_the_block_fails(fake_ray):
    with pytest.raises(ZeroDivisionError), ray_session():
        raise ZeroDivisionError
    assert fake_ray[-1] == "shutdown"
