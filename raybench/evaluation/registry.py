"""Every protocol and evaluator by name: what `trial` looks up."""

from typing import Any

from raybench.evaluation.adversarial import adversarial
from raybench.evaluation.calibration import calibration
from raybench.evaluation.context import ProtocolFactory
from raybench.evaluation.corruption import corruption
from raybench.evaluation.finetune import finetune
from raybench.evaluation.knn import knn
from raybench.evaluation.linear_probe import linear_probe
from raybench.evaluation.ood import ood
from raybench.evaluation.pretrained_head import pretrained_head
from raybench.evaluation.retrieval.protocol import retrieval
from raybench.evaluation.selective import selective
from raybench.evaluation.shift import shift
from raybench.evaluation.subject import Evaluator
from raybench.registry import Registry

PROTOCOL_RUNS: Registry[ProtocolFactory] = Registry("protocol")
PROTOCOL_RUNS.add("linear_probe", linear_probe)
PROTOCOL_RUNS.add("knn", knn)
PROTOCOL_RUNS.add("finetune", finetune)
PROTOCOL_RUNS.add("retrieval", retrieval)
PROTOCOL_RUNS.add("pretrained_head", pretrained_head)

EVALUATOR_RUNS: Registry[Evaluator[Any]] = Registry("evaluator")
"""Any: each takes its own settings, those of its row in the catalogue."""
EVALUATOR_RUNS.add("calibration", calibration)
EVALUATOR_RUNS.add("selective", selective)
EVALUATOR_RUNS.add("ood", ood)
EVALUATOR_RUNS.add("adversarial", adversarial)
EVALUATOR_RUNS.add("corruption", corruption)
EVALUATOR_RUNS.add("shift", shift)
