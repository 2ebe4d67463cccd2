"""Row of an evaluator: metrics, needs, settings, report section. Each evaluator has a file in this folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, dataclass_transform

from raybench.core.records import digest_of

Needs = Literal["predictions", "features", "images", "gradients"]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class EvaluatorSettings:
    """Settings that determine an evaluator's numbers. Subclasses become frozen, keyword-only dataclasses."""

    __pydantic_config__: ClassVar[Mapping[str, str]] = {"extra": "forbid"}
    version: ClassVar[int] = 1
    """Increment it if equal settings give other numbers: finished experiments are then evaluated again."""
    reads_shifts: ClassVar[bool] = False
    """Whether it reads the shifted test sets of the task's dataset."""

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
        """Changes whenever a setting or the version does."""
        parts = [type(self).__name__, self.as_dict()]
        return digest_of(parts if self.version == 1 else [*parts, self.version])


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveInfo:
    """How one curve of an evaluator is drawn, from the rows that `Evaluation.curves` holds under its name."""

    name: str
    title: str
    x: str
    """Column of the rows."""
    y: str
    x_title: str
    y_title: str
    series: str | None = None
    """Column whose values are separate lines of one classifier, e.g. `attack`."""
    has_panel_per_series: bool = False
    """In the report, a panel per value of `series`; otherwise a panel per task, averaged over `series`."""
    has_diagonal: bool = False
    """Draw the line y = x."""
    counts: str | None = None
    """Column with the number of images behind each point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorInfo:
    """One evaluator: its implementation, needs, metrics, settings, and how the report shows it."""

    name: str
    entry_point: str
    """`package.module:name` of its function (`evaluation.fitted_classifier.Evaluator`)."""
    doc: str
    needs: Needs
    """`predictions`: the final stage's logits; `features`: stored features, of other datasets too; `images`:
    forward passes of changed images; `gradients`: also backward passes to the pixels."""
    metrics: tuple[str, ...]
    headline: str
    """Metric that represents the evaluator in the ranking and leads its section of the report."""
    section: str
    """Heading of its section in the report."""
    settings: type[EvaluatorSettings]
    presets: Mapping[str, EvaluatorSettings]
    """Name → settings; the first is the default of a spec that names the evaluator only."""
    curves: tuple[CurveInfo, ...] = ()
    """Curves that the report and MLflow show."""

    @property
    def default_preset(self) -> str:
        return next(iter(self.presets))
