"""Evaluators: further measurements of a fitted classifier after the final stage. One file each."""

import pkgutil
from importlib import import_module

from raybench.catalog.evaluators.info import EvaluatorInfo
from raybench.core.registry import Registry

EVALUATORS: Registry[EvaluatorInfo] = Registry("evaluator", EvaluatorInfo)
for _file in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    if (_row := getattr(import_module(_file.name), "INFO", None)) is not None:
        EVALUATORS.add(_row.name, _row)
