"""Experiment specs: YAML file → checked spec → plan with a rough cost."""

from raybench.spec.diff import SpecChange, diff
from raybench.spec.experiment import ExperimentSpec, SearchSpec
from raybench.spec.parse import load_spec
from raybench.spec.plan import Plan, make_plan
from raybench.spec.resources import ResourceSpec

__all__ = [
    "ExperimentSpec",
    "Plan",
    "ResourceSpec",
    "SearchSpec",
    "SpecChange",
    "diff",
    "load_spec",
    "make_plan",
]
