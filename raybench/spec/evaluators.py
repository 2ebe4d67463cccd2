"""The evaluators of a spec file → settings, with every problem reported."""

from typing import Any

from raybench.catalog.evaluators import EVALUATORS
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import UnknownNameError
from raybench.core.registry import suggest
from raybench.spec.document import Document
from raybench.spec.names import Report
from raybench.spec.schema import expectation
from raybench.spec.settings import resolve_settings


def resolve_evaluators(
    items: list[tuple[int, Any]], document: Document, report: Report
) -> dict[str, dict[str, Any]]:
    """Evaluator → all of its settings, from the items of a spec file."""
    resolved: dict[str, dict[str, Any]] = {}
    first: dict[str, int] = {}
    for position, item in items:
        location = ("evaluators", position)
        if not (isinstance(item, str) or (isinstance(item, dict) and len(item) == 1)):
            report(location, f"an evaluator is a name or `NAME: PRESET`, got {item!r:.60}.")
            continue
        name, requested = (item, None) if isinstance(item, str) else next(iter(item.items()))
        if name in first:
            line = document.line(("evaluators", first[name]))
            report(location, f"evaluator {name!r} is already listed in line {line}; keep one.")
            continue
        first[name] = position
        try:
            if name not in EVALUATORS:
                raise UnknownNameError(_unknown(str(name)))
            resolved[name] = resolve_settings(EVALUATORS[name], requested).as_dict()
        except UnknownNameError as error:
            report(location, str(error))
        except ValueError as error:  # pydantic's ValidationError is one.
            report(location, _unsuitable(str(name), error))
    return resolved


def _unsuitable(name: str, error: ValueError) -> str:
    details: list[dict[str, Any]] = getattr(error, "errors", list)()
    setting_names = ", ".join(EVALUATORS[name].settings.__dataclass_fields__)  # type: ignore[attr-defined]
    if not details:
        return f"evaluator {name!r}: {error}"
    first = details[0]
    where = ".".join(str(step) for step in first["loc"]) or "its settings"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"evaluator {name!r}: {where}: there is no such setting. Settings: {setting_names or 'none'}."
    return (
        f"evaluator {name!r}: {where}: must be {expectation(first)}, got {first['input']!r:.60}. "
        f"Settings: {setting_names or 'none'}."
    )


def _unknown(name: str) -> str:
    hint = suggest(name, EVALUATORS) or "."
    advice = f" A protocol belongs into `tasks`, as {name}@DATASET." if name in PROTOCOLS else ""
    listing = f"Evaluators: {', '.join(EVALUATORS)}."
    return f"unknown evaluator {name!r}{hint} {listing}{advice}{EVALUATORS.failure_notes}"
