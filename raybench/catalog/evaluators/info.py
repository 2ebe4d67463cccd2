"""What an evaluator is on paper: its metrics, what it needs, its settings. One file per evaluator beside."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, dataclass_transform

from raybench.core.records import digest_of

Needs = Literal["predictions", "features", "images", "gradients"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class EvaluatorSettings:
    """Everything that changes an evaluator's numbers. A subclass is a frozen, keyword-only dataclass."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    def as_dict(self) -> dict[str, Any]:
        """Setting → value, JSON-ready."""
        return asdict(self)  # type: ignore[call-overload]

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Datasets that the evaluator reads beside the task's own."""
        return ()

    @property
    def digest(self) -> str:
        """Changes whenever a setting does."""
        return digest_of([type(self).__name__, self.as_dict()])


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """One evaluator: what it needs and which metrics it adds."""

    name: str
    entry_point: str
    """`package.module:name` of its function (`evaluation.subject.Evaluator`)."""
    doc: str
    needs: Needs
    """`predictions`: the final stage's logits, nothing runs again; `features`: those of other datasets too;
    `images`: forward passes of changed images; `gradients`: backward passes to the pixels as well."""
    metrics: tuple[str, ...]
    headline: str
    """The one of them that becomes the evaluator's category in the ranking."""
    settings: type[EvaluatorSettings]
    presets: Mapping[str, EvaluatorSettings]
    """Name → settings; the first one is what the bare name in a spec means."""

    @property
    def default_preset(self) -> str:
        return next(iter(self.presets))
