"""Row of an evaluator: its metrics, needs and settings. Each evaluator has a file in this folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, dataclass_transform

from raybench.core.records import digest_of

Needs = Literal["predictions", "features", "images", "gradients"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class EvaluatorSettings:
    """Settings that determine an evaluator's numbers. Subclasses become frozen, keyword-only dataclasses."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def as_dict(self) -> dict[str, Any]:
        """Setting → value, JSON-ready."""
        return asdict(self)  # type: ignore[call-overload]

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Datasets that the evaluator reads in addition to the task's own."""
        return ()

    @property
    def digest(self) -> str:
        """Changes whenever a setting does."""
        return digest_of([type(self).__name__, self.as_dict()])


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """One evaluator: its implementation, needs, metrics and settings."""

    name: str
    entry_point: str
    """`package.module:name` of its function (`evaluation.subject.Evaluator`)."""
    doc: str
    needs: Needs
    """`predictions`: the final stage's logits; `features`: stored features, of other datasets too; `images`:
    forward passes of changed images; `gradients`: also backward passes to the pixels."""
    metrics: tuple[str, ...]
    headline: str
    """Metric that represents the evaluator in the ranking."""
    settings: type[EvaluatorSettings]
    presets: Mapping[str, EvaluatorSettings]
    """Name → settings; the first is the default of a spec that names the evaluator only."""

    @property
    def default_preset(self) -> str:
        return next(iter(self.presets))
