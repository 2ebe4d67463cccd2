"""The key `spaces` of a spec: search spaces and packed grids of the user's own, per protocol and backbone."""

from typing import Any

from pydantic import BaseModel, Field, field_validator, model_validator

from raybench.catalog.space_changes import Number, SpaceChange
from raybench.core.records import HparamValue

MAX_PACKED = 1024
"""Cells of one packed grid: all heads of a trial are in memory at once."""


class DimensionEntry(BaseModel, extra="forbid", strict=True, frozen=True):
    """See `DimensionChange`; a bare value or list stands for `values`."""

    values: list[HparamValue] | None = Field(default=None, min_length=1)
    low: Number | None = None
    high: Number | None = None
    log: bool | None = None
    num: int | None = Field(default=None, ge=2, le=MAX_PACKED)
    default: HparamValue | None = None
    when: dict[str, list[HparamValue]] = {}

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        if isinstance(value, dict | DimensionEntry):
            return value
        return {"values": value if isinstance(value, list) else [value]}

    @field_validator("when", mode="before")
    @classmethod
    def _lists(cls, when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        return {name: value if isinstance(value, list) else [value] for name, value in when.items()}


class SpaceEntry(BaseModel, extra="forbid", strict=True, frozen=True):
    """One item of `spaces`; later items change what earlier ones have set."""

    protocol: str
    backbones: list[str] | None = Field(default=None, min_length=1)
    """Names, globs and groups; None for every backbone. In an `ExperimentSpec` names only."""
    space: dict[str, DimensionEntry] = Field(min_length=1)

    @property
    def change(self) -> SpaceChange:
        return SpaceChange.of(self.model_dump())
