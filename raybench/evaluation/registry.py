"""Every protocol by name: what `trial` looks up."""

from raybench.evaluation.context import ProtocolFactory
from raybench.evaluation.knn import knn
from raybench.evaluation.linear_probe import linear_probe
from raybench.registry import Registry

PROTOCOL_RUNS: Registry[ProtocolFactory] = Registry("protocol")
PROTOCOL_RUNS.add("linear_probe", linear_probe)
PROTOCOL_RUNS.add("knn", knn)
