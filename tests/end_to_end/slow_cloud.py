"""A node provider for Ray's autoscaler that accepts orders and starts nothing: the test starts the node."""

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider

CONFIG = {
    "cluster_name": "slow-cloud",
    "max_workers": 2,
    "idle_timeout_minutes": 60,
    "upscaling_speed": 1.0,
    "provider": {
        "type": "external",
        "module": f"{__name__}.SlowCloud",
        "launch_multiple": True,
        "head_node_id": FAKE_HEAD_NODE_ID,
    },
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}
"""A head without CPUs, and a group of size zero whose nodes have two CPUs."""
VARIABLES = {
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
}
"""Environment variables of the head."""


class SlowCloud(FakeMultiNodeProvider):
    """Accepts orders and starts no node."""

    def _create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):
        return {}
