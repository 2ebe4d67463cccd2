"""Preprocessing of a catalogue row: timm's pretrained config, overridden by the row."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import timm
from timm.data import resolve_data_config

from raybench.backbones.names import is_timm_name, timm_names
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError, UnknownNameError
from raybench.core.preprocessing import CROP_PCT_BOUNDS, STD_BOUNDS, CropMode, Interpolation, Preprocessing
from raybench.core.registry import suggest

REQUIRED = frozenset({"mean", "std", "crop_pct", "interpolation", "input_size"})
OVERRIDES = REQUIRED | {"crop_mode"}


def preprocessing_of(info: BackboneInfo) -> Preprocessing:
    """Resolve the preprocessing of a backbone without building it.

    The input size is the first that is set of: `preprocessing`, `input_size`, `img_size` in `kwargs`, timm's
    config.

    Raises:
        UnknownNameError: timm does not know `info.timm`.
        CheckpointError: a key is not one of OVERRIDES, is missing, or has an impossible value; or the input
            is not square.
    """
    if unknown := sorted(set(info.preprocessing) - OVERRIDES):
        raise CheckpointError(
            f"backbone {info.name!r}: unknown preprocessing key {unknown[0]!r}"
            f"{suggest(unknown[0], OVERRIDES)}; known are {', '.join(sorted(OVERRIDES))}."
        )
    defaults = {} if info.entry_point else _timm_defaults(info.timm)
    size = info.input_size or info.kwargs.get("img_size")
    merged = {**defaults, **({"input_size": size} if size else {}), **info.preprocessing}
    if missing := sorted(REQUIRED - set(merged)):
        raise CheckpointError(
            f"backbone {info.name!r} is not built by timm, so its `preprocessing` must be complete; it lacks "
            f"{', '.join(missing)}."
        )
    crop_pct, (low, high) = float(merged["crop_pct"]), CROP_PCT_BOUNDS
    if not low <= crop_pct <= high:
        raise CheckpointError(
            f"backbone {info.name!r}: crop_pct must lie in [{low}, {high}], got {crop_pct}."
        )
    return Preprocessing(
        input_size=_input_size(info, merged["input_size"]),
        crop_pct=crop_pct,
        interpolation=cast(Interpolation, _one_of(info, "interpolation", merged, get_args(Interpolation))),
        mean=_three(info, "mean", merged["mean"], (0.0, 1.0)),
        std=_three(info, "std", merged["std"], STD_BOUNDS),
        crop_mode=cast(
            CropMode, _one_of(info, "crop_mode", {"crop_mode": "center", **merged}, get_args(CropMode))
        ),
    )


def _one_of(info: BackboneInfo, key: str, values: Mapping[str, Any], choices: Sequence[str]) -> str:
    value = str(values[key])
    if value not in choices:
        raise CheckpointError(
            f"backbone {info.name!r}: {key} must be one of {', '.join(choices)}, got {value!r}."
        )
    return value


def _timm_defaults(name: str) -> Mapping[str, Any]:
    if not is_timm_name(name):
        raise UnknownNameError(f"timm has no model {name!r}{suggest(name, timm_names())}.")
    config = timm.get_pretrained_cfg(name)
    return resolve_data_config(args={"in_chans": 3}, pretrained_cfg=config.to_dict() if config else {})


def _input_size(info: BackboneInfo, size: Any) -> int:
    sides = [size] if isinstance(size, int) else list(size)[-2:]
    if len(set(sides)) != 1 or not isinstance(sides[0], int) or sides[0] < 1:
        raise CheckpointError(
            f"backbone {info.name!r} takes inputs of {'×'.join(map(str, sides))} pixels; raybench supports "
            "square inputs only. Set `preprocessing: {input_size: SIDE}` if it takes others."
        )
    return int(sides[0])


def _three(
    info: BackboneInfo, key: str, values: Any, bounds: tuple[float, float]
) -> tuple[float, float, float]:
    numbers, (low, high) = tuple(float(value) for value in values), bounds
    if len(numbers) != 3 or not all(low <= value <= high for value in numbers):
        hint = " Values of 0…255 are divided by 255." if any(value > high for value in numbers) else ""
        raise CheckpointError(
            f"backbone {info.name!r}: {key} must be three numbers in [{low:g}, {high:g}], for red, green and "
            f"blue in units of [0, 1]; got {list(numbers)}.{hint}"
        )
    return numbers[0], numbers[1], numbers[2]
