"""An evaluator's settings, read from a spec file or from a stored spec."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest


def resolve_settings(
    info: EvaluatorInfo, requested: str | Mapping[str, Any] | None = None
) -> EvaluatorSettings:
    """Settings from a spec file: None, a preset's name, or `{preset: NAME, setting: value}`.

    Raises:
        UnknownNameError: if there is no such preset, or it is neither text nor a mapping.
        pydantic.ValidationError: if a setting is unknown or of the wrong type.
    """
    if not isinstance(requested, str | Mapping | None):
        raise UnknownNameError(
            f"evaluator {info.name!r} takes a preset or a mapping of settings, got {requested!r:.60}; "
            f"presets: {', '.join(info.presets)}."
        )
    changes = dict(requested) if isinstance(requested, Mapping) else {}
    name = requested if isinstance(requested, str) else changes.pop("preset", info.default_preset)
    if not isinstance(name, str) or name not in info.presets:
        raise UnknownNameError(
            f"evaluator {info.name!r} has no preset {name!r:.60}{suggest(str(name), info.presets) or '.'} "
            f"Presets: {', '.join(info.presets)}."
        )
    return restore_settings(info, {**info.presets[name].as_dict(), **changes})


def restore_settings(info: EvaluatorInfo, content: Mapping[str, Any]) -> EvaluatorSettings:
    """Settings from the result of `as_dict`, also after a round trip through JSON.

    Raises:
        pydantic.ValidationError: if a setting is unknown or of the wrong type.
    """
    return TypeAdapter(info.settings).validate_python(dict(content))
