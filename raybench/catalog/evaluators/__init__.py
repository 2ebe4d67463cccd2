"""Evaluators: further measurements of a fitted classifier after the final stage. One file each."""

from raybench.catalog.evaluators import adversarial, calibration, corruption, ood, selective, shift
from raybench.catalog.evaluators.info import EvaluatorInfo
from raybench.core.registry import Registry

EVALUATORS: Registry[EvaluatorInfo] = Registry("evaluator", EvaluatorInfo)
for _file in (calibration, selective, ood, adversarial, corruption, shift):
    EVALUATORS.add(_file.INFO.name, _file.INFO)
