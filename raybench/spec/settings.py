"""An evaluator's settings, from what a spec writes and from what a storage holds."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest


def resolve_settings(info: EvaluatorInfo, asked: str | Mapping[str, Any] | None = None) -> EvaluatorSettings:
    """Settings for what a spec writes: nothing, a preset's name, or `{preset: NAME, setting: value}`.

    Raises:
        UnknownNameError: if there is no such preset.
        pydantic.ValidationError: if a setting is unknown or of the wrong type.
    """
    changes = dict(asked) if isinstance(asked, Mapping) else {}
    name = asked if isinstance(asked, str) else changes.pop("preset", info.default_preset)
    if name not in info.presets:
        raise UnknownNameError(
            f"evaluator {info.name!r} has no preset {name!r}{suggest(str(name), info.presets) or '.'} "
            f"Presets: {', '.join(info.presets)}."
        )
    return restore_settings(info, {**info.presets[name].as_dict(), **changes})


def restore_settings(info: EvaluatorInfo, content: Mapping[str, Any]) -> EvaluatorSettings:
    """Settings from what `as_dict` gave, JSON in between or not.

    Raises:
        pydantic.ValidationError: if a setting is unknown or of the wrong type.
    """
    return TypeAdapter(info.settings).validate_python(dict(content))
