"""Keys of a spec file and their types. Names are looked up later, in `names.py` and `tasks.py`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError
from pydantic_core import ErrorDetails

from raybench.catalog.backbone_info import Family
from raybench.catalog.dataset_info import Difficulty
from raybench.catalog.feature_settings import Precision, Resize
from raybench.core.preprocessing import (
    CROP_PCT_BOUNDS,
    MAX_INPUT_SIZE,
    STD_BOUNDS,
    CropMode,
    Interpolation,
)
from raybench.core.records import HparamValue, Split
from raybench.core.registry import suggest
from raybench.spec.document import Document, Location
from raybench.spec.experiment import Converged, EarlyStopping, Sampler
from raybench.spec.resources import ResourceSpec
from raybench.spec.spaces import DimensionEntry, SpaceEntry

_Mean = Annotated[float, Field(ge=0, le=1)]
_Std = Annotated[float, Field(ge=STD_BOUNDS[0], le=STD_BOUNDS[1])]
_Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What 64 bits with a sign hold: measurement tables store seeds so."""


class PreprocessingEntry(BaseModel, extra="forbid", strict=True, frozen=True, allow_inf_nan=False):
    mean: list[_Mean] | None = Field(default=None, min_length=3, max_length=3)
    std: list[_Std] | None = Field(default=None, min_length=3, max_length=3)
    crop_pct: float | None = Field(default=None, ge=CROP_PCT_BOUNDS[0], le=CROP_PCT_BOUNDS[1])
    crop_mode: CropMode | None = None
    interpolation: Interpolation | None = None
    input_size: int | None = Field(default=None, ge=1, le=MAX_INPUT_SIZE)


class BackboneEntry(BaseModel, extra="forbid", strict=True, frozen=True, allow_inf_nan=False):
    timm: str
    name: str | None = None
    checkpoint: str | None = None
    random: _Seed | None = None
    """Seed of a random initialisation, in place of trained weights."""
    kwargs: dict[str, Any] = {}
    preprocessing: PreprocessingEntry = PreprocessingEntry()
    family: Family = "unknown"
    method: str = "unknown"
    pretrain_data: str = "unknown"
    pretrain_images: int | None = Field(default=None, ge=0, le=10**15)
    params_m: float | None = Field(default=None, gt=0, le=10**9)
    licence: str = "unknown"
    citation: str = ""


class ShiftEntry(BaseModel, extra="forbid", strict=True, frozen=True):
    class_map: str | dict[str, list[str | int]] | None = None
    cue: str = ""


class QueriesEntry(BaseModel, extra="forbid", strict=True, frozen=True, allow_inf_nan=False):
    kind: Literal["rest", "first", "listed"]
    fraction: float = Field(default=0.2, gt=0, lt=1)
    max_per_class: int | None = Field(default=None, ge=2)
    layout: Literal["json", "copydays", "landmarks"] = "json"
    file: str = "gnd.json"
    difficulty: Difficulty = "medium"
    crop: bool = False
    distractors: str = ""
    shares: Literal["category", "instance"] = "category"


class DatasetEntry(BaseModel, extra="forbid", strict=True, frozen=True, allow_inf_nan=False):
    folder: str | None = None
    torchvision: str | None = None
    huggingface: str | None = None
    parquet: str | None = None
    splits: dict[Split, str] | None = None
    val_fraction: float = Field(default=0.2, ge=0, lt=1)
    examples_per_class: int | None = Field(default=None, ge=2)
    unreadable: Literal["error", "skip"] = "error"
    image_column: str | None = None
    label_column: str | None = None
    revision: str | None = None
    test_only: bool = False
    shifts: list[str] | dict[str, ShiftEntry] = []
    queries: QueriesEntry | None = None
    licence: str = "unknown"
    citation: str = ""


class FeaturesEntry(BaseModel, extra="forbid", strict=True, frozen=True):
    precision: Precision = "float32"
    resize: Resize = "exact"


class SearchEntry(BaseModel, extra="forbid", strict=True, frozen=True):
    sampler: Sampler = "qmc"
    num_trials: int | None = Field(default=None, ge=1)
    early_stopping: EarlyStopping = "none"
    seed: _Seed = 0
    objective: str | None = None
    grid_points: dict[str, Annotated[int, Field(ge=2, le=1000)]] = {}
    max_parallel: int | None = Field(default=None, ge=1, le=10_000)
    converged: Converged | None = None


def _backbone_kind(value: Any) -> str:
    return "row" if isinstance(value, dict | BackboneEntry) else "name"


_Backbone = Annotated[
    Annotated[str, Tag("name")] | Annotated[BackboneEntry, Tag("row")], Discriminator(_backbone_kind)
]


class SpecShape(BaseModel, extra="forbid", strict=True, frozen=True):
    """A spec file, key by key."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    backbones: list[_Backbone] = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    datasets: dict[str, DatasetEntry] = {}
    search: SearchEntry = SearchEntry()
    budget: str = "standard"
    seeds: list[_Seed] | None = Field(default=None, min_length=1)
    evaluators: list[Any] = []
    """Names, or one-key mappings `{NAME: PRESET}` and `{NAME: {SETTING: VALUE}}`; read by `evaluators.py`."""
    resources: ResourceSpec = ResourceSpec()
    features: FeaturesEntry = FeaturesEntry()
    max_epochs: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = {}
    spaces: list[SpaceEntry] = []
    hparams: dict[str, HparamValue] | None = None
    preset: str | None = None
    """Preset of the protocol's row, in place of `hparams`: e.g. `paper`."""
    found: dict[str, Any] = {}
    """Scores and origin of a recipe; `raybench run` ignores them."""


_EXAMPLES = {
    "name": "name: my_question",
    "backbones": "backbones: [resnet18.a1_in1k, '@mini']",
    "tasks": "tasks: [linear_probe@digits]",
    "timm": "timm: resnet18",
}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only",
    "string_too_long": "at most 100 characters",
    "tuple_type": "a list",
}


_FIELDS: dict[str, type[BaseModel]] = {
    "search": SearchEntry,
    "converged": Converged,
    "resources": ResourceSpec,
    "features": FeaturesEntry,
    "backbones": BackboneEntry,
    "datasets": DatasetEntry,
    "preprocessing": PreprocessingEntry,
    "queries": QueriesEntry,
    "spaces": SpaceEntry,
    "space": DimensionEntry,
}


def check_shape(document: Document) -> tuple[SpecShape | None, dict[Location, str]]:
    """Check keys and types: (shape, no problems), or (None, location → problem)."""
    try:
        return SpecShape.model_validate(document.data), {}
    except ValidationError as error:
        problems: dict[Location, str] = {}
        for details in error.errors(include_url=False):
            location = _in_document(details, document)
            # A value that fits no member of a union is reported once per member; the first says enough.
            problems.setdefault(location, _sentence(details, location, document.written(location)))
        return None, problems


def _in_document(details: ErrorDetails, document: Document) -> Location:
    """The document's own keys only: without the names of union members that pydantic adds."""
    *steps, last = details["loc"]
    location: Location = ()
    for step in steps:
        if document.has((*location, step)):
            location = (*location, step)
    is_named = details["type"] == "missing" or document.has((*location, last))
    return (*location, last) if is_named else location


def _sentence(details: ErrorDetails, location: Location, written: str | None) -> str:
    kind, met, context = details["type"], details["input"], details.get("ctx", {})
    dotted = _dotted(location)
    if kind == "extra_forbidden":
        valid_keys = list(_model_at(location).model_fields)
        hint = suggest(str(location[-1]), valid_keys) or "."
        return f"unknown key {location[-1]!r}{hint} Known here: {', '.join(valid_keys)}."
    if kind == "missing":
        example = _EXAMPLES.get(str(location[-1]))
        return f"key {dotted} is missing" + (f"; write for example `{example}`." if example else ".")
    if kind == "literal_error":
        options = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = suggest(str(met), options) or "."
        shown = repr(met) if isinstance(met, str) else _met(met, written)
        return f"{dotted} must be one of {', '.join(options)}, got {shown}{near}"
    if kind == "too_short":
        return f"{dotted} needs at least {_count(context['min_length'])}, got {met!r:.60}."
    if kind == "too_long" and "max_length" in context:
        return f"{dotted} takes at most {_count(context['max_length'])}, got {met!r:.60}."
    why = ", because it names a folder" if kind == "string_pattern_mismatch" and location == ("name",) else ""
    hint = _type_hint(kind, met, written)
    return f"{dotted} must be {expectation(details)}{why}, got {_met(met, written)}{hint}."


def expectation(details: Mapping[str, Any]) -> str:
    """What a value must be, from pydantic's error about it: `a whole number`, `at least 1`."""
    context = details.get("ctx", {})
    for bound, words in {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}.items():
        if bound in context:
            limit = context[bound]
            return f"{words} {limit:g}" if isinstance(limit, float) else f"{words} {limit}"
    return _EXPECTED.get(details["type"]) or details["msg"].removeprefix("Input should be ").lower()


def _dotted(location: Location) -> str:
    """`("search", "num_trials")` → `search.num_trials`, `("seeds", 0)` → `seeds[0]`; quoted by backticks."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return f"`{text.lstrip('.')}`"


def _model_at(location: Location) -> type[BaseModel]:
    for step in reversed(location[:-1]):
        if step in _FIELDS:
            return _FIELDS[str(step)]
    return SpecShape


def _count(number: int) -> str:
    return "one entry" if number == 1 else f"{number} entries"


def _met(value: Any, written: str | None) -> str:
    """The value as the file has it, with its type if that is surprising."""
    if value is None:
        return "nothing"
    kind = {str: "text", bool: "true or false", list: "a list", dict: "a mapping"}.get(type(value))
    is_plain = written is None or isinstance(value, str)
    return (f"{value!r:.60}" if is_plain else f"{written:.60}") + (f" ({kind})" if kind else "")


def _type_hint(kind: str, met: Any, written: str | None) -> str:
    if kind == "list_type" and met is not None and not isinstance(met, dict):
        return f"; write [{met}]"
    if kind == "string_type" and isinstance(met, int | float):
        return f"; quote it: {(written or str(met))!r}"
    if kind == "string_type" and isinstance(met, dict) and len(met) == 1:
        return "; is it a text with ': ' in it? Quote it"
    return ""
