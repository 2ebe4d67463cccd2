"""Preprocessing of a catalogue row: timm's pretrained config, overridden by the row."""

from collections.abc import Mapping
from typing import Any, get_args

import timm
from timm.data import resolve_data_config

from raybench.backbones.names import is_timm_name, timm_names
from raybench.catalog.backbone_info import BackboneInfo
from raybench.core.errors import CheckpointError, UnknownNameError
from raybench.core.records import Interpolation, Preprocessing
from raybench.core.registry import suggest

OVERRIDES = frozenset({"mean", "std", "crop_pct", "interpolation", "input_size"})


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
    if missing := sorted(OVERRIDES - set(merged)):
        raise CheckpointError(
            f"backbone {info.name!r} is not built by timm, so its `preprocessing` must be complete; it lacks "
            f"{', '.join(missing)}."
        )
    crop_pct, interpolation = float(merged["crop_pct"]), str(merged["interpolation"])
    if not 0.0 < crop_pct <= 1.0:
        raise CheckpointError(f"backbone {info.name!r}: crop_pct must lie in (0, 1], got {crop_pct}.")
    if interpolation not in get_args(Interpolation):
        raise CheckpointError(
            f"backbone {info.name!r}: interpolation must be one of {', '.join(get_args(Interpolation))}, "
            f"got {interpolation!r}."
        )
    return Preprocessing(
        input_size=_input_size(info, merged["input_size"]),
        crop_pct=crop_pct,
        interpolation=interpolation,  # type: ignore[arg-type]  # Checked just above.
        mean=_three(info, "mean", merged["mean"]),
        std=_three(info, "std", merged["std"]),
    )


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


def _three(info: BackboneInfo, key: str, values: Any) -> tuple[float, float, float]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or (key == "std" and min(numbers) <= 0):
        raise CheckpointError(
            f"backbone {info.name!r}: {key} must be three numbers{' above 0' if key == 'std' else ''}, "
            f"red, green and blue in [0, 1] units; got {list(numbers)}."
        )
    return numbers[0], numbers[1], numbers[2]
