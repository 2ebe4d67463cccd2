"""Kinds of GPUs on a real Ray whose nodes claim GPUs: Tune places trials on nodes of the requested kinds."""

from collections import Counter

import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster

from raybench.tuning.accelerators import LABEL, near_miss, placement

KINDS = {"T4": 4, "A100": 1, "H100": 1}
"""Kind → GPUs on its node. Most GPUs are of the kind that is not requested."""


class ReportNode(tune.Trainable):
    """Report the kind of its node and the GPUs assigned to it."""

    def setup(self, config):
        context = ray.get_runtime_context()
        self.kind = context.get_node_labels().get(LABEL, "none")
        self.gpus = context.get_assigned_resources().get("GPU", 0.0)

    def reset_config(self, new_config):
        return True

    def step(self):
        return {"kind": self.kind, "gpus": self.gpus, "done": True}

    def save_checkpoint(self, checkpoint_dir):
        pass


@pytest.fixture(scope="module")
def mixed():
    """A node per kind, and one without GPUs."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    for kind, num_gpus in KINDS.items():
        cluster.add_node(num_cpus=2, num_gpus=num_gpus, labels={LABEL: kind})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def run_trials(tmp_path, num_trials: int, **resources) -> Counter:
    tuner = tune.Tuner(
        tune.with_resources(ReportNode, resources=lambda config: placement(**resources)),
        tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=True),
        run_config=tune.RunConfig(
            name="kinds",
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    return Counter((result.metrics["kind"], result.metrics["gpus"]) for result in tuner.fit())


@pytest.mark.slow
def test_trials_run_on_the_requested_kinds_only(mixed, tmp_path):
    counts = run_trials(tmp_path, 8, cpus=1.0, gpus=0.5, kinds=["A100", "H100"])
    assert {kind for kind, _ in counts} <= {"A100", "H100"}
    assert {gpus for _, gpus in counts} == {0.5}
    assert sum(counts.values()) == 8


@pytest.mark.slow
def test_trials_without_gpus_take_none_on_a_cluster_with_gpus(mixed, tmp_path):
    counts = run_trials(tmp_path, 8, cpus=1.0, gpus=0.0, kinds=["A100"])
    assert {gpus for _, gpus in counts} == {0.0}
    assert sum(counts.values()) == 8


@pytest.mark.parametrize(
    ("kinds", "hint"),
    [
        (["h100"], "; did you mean 'H100'?"),
        (["A-100"], "; did you mean 'A100'?"),
        (["Gaudi"], ""),
        (["A100"], ""),
        ([], ""),
    ],
)
def test_a_misspelt_kind_is_suggested(kinds, hint):
    assert near_miss(kinds, [*KINDS, ""]) == hint
