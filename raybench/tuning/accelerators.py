"""Kinds of GPUs, by Ray's node label `ray.io/accelerator-type`.

Ray sets the label of a node from its driver (`H100`, `A100`, `L4`, …). `ray start --labels` and the `labels`
of a KubeRay worker group set it by hand; the latter also works for a group that has no node yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raybench.core.registry import suggest

LABEL = "ray.io/accelerator-type"


def kind_of(node: Mapping[str, Any]) -> str:
    """Kind of GPU of an entry of `ray.nodes()`; empty without a GPU, or if Ray does not know its kind."""
    return str(node.get("Labels", {}).get(LABEL, ""))


def selector(kinds: Sequence[str]) -> dict[str, str]:
    """Ray's label selector for nodes with any of these kinds.

    >>> selector(["A100", "H100"])
    {'ray.io/accelerator-type': 'in(A100,H100)'}
    """
    return {LABEL: f"in({','.join(kinds)})"}


def placement(cpus: float, gpus: float, kinds: Sequence[str]) -> Any:
    """A trial's resources in Tune's form; a trial without GPUs may run on any node."""
    bundle = {"CPU": cpus, "GPU": gpus}
    if not (kinds and gpus):
        return {name.lower(): count for name, count in bundle.items()}
    from ray import tune

    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector(kinds)])


def kinds_text(kinds: Sequence[str]) -> str:
    """` of kind A100 or H100`; empty where any kind is allowed."""
    return f" of kind {' or '.join(kinds)}" if kinds else ""


def near_miss(kinds: Sequence[str], cluster_kinds: Iterable[str]) -> str:
    """`; did you mean 'A100'?` if a kind of the spec resembles a kind of the cluster, else empty."""
    available = sorted(set(filter(None, cluster_kinds)))
    by_upper_case = {name.upper(): name for name in available}
    for kind in kinds:
        if kind in available:
            continue
        if (near := by_upper_case.get(kind.upper())) is not None:
            return f"; did you mean {near!r}?"
        if hint := suggest(kind, available):
            return hint
    return ""
