"""Which GPUs will do: Ray knows the kind of each node's by its label `ray.io/accelerator-type`.

A node labels itself with what the driver says of its GPUs (`H100`, `A100`, `L4`, …); `ray start --labels`
and the `labels` of a KubeRay worker group set it by hand, the latter also for a group without any node yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raybench.core.registry import suggest

LABEL = "ray.io/accelerator-type"


def kind_of(node: Mapping[str, Any]) -> str:
    """Of one entry of `ray.nodes()`; empty where the node has no GPU or none that Ray can name."""
    return str(node.get("Labels", {}).get(LABEL, ""))


def selector(kinds: Sequence[str]) -> dict[str, str]:
    """Ray's label selector for nodes of any of the kinds.

    >>> selector(["A100", "H100"])
    {'ray.io/accelerator-type': 'in(A100,H100)'}
    """
    return {LABEL: f"in({','.join(kinds)})"}


def placement(cpus: float, gpus: float, kinds: Sequence[str]) -> Any:
    """What Tune takes as a trial's resources; a trial without GPUs may run on any node."""
    bundle = {"CPU": cpus, "GPU": gpus}
    if not (kinds and gpus):
        return {name.lower(): count for name, count in bundle.items()}
    from ray import tune

    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector(kinds)])


def in_words(kinds: Sequence[str]) -> str:
    """`of kind A100 or H100`; empty where any kind will do."""
    return f" of kind {' or '.join(kinds)}" if kinds else ""


def near_miss(kinds: Sequence[str], known: Iterable[str]) -> str:
    """`; did you mean 'A100'?` where a kind of the spec looks like a kind of the cluster."""
    there = sorted(set(filter(None, known)))
    by_capitals = {name.upper(): name for name in there}
    for kind in kinds:
        if kind in there:
            continue
        if (near := by_capitals.get(kind.upper())) is not None:
            return f"; did you mean {near!r}?"
        if hint := suggest(kind, there):
            return hint
    return ""
