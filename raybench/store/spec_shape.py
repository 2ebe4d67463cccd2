"""The shape of a stored spec, as far as readers of results rely on it."""

from collections.abc import Mapping
from typing import Any

from raybench.core.names import name_problem

_TEXTS = ("timm", "family", "method", "pretrain_data")


def problem_of_spec(content: Any) -> str:
    """Why JSON is no stored spec, as the end of a sentence; empty if it is one.

    >>> problem_of_spec({"name": "e", "backbones": [{"name": "a"}]}), problem_of_spec([])
    ('', 'holds no spec')
    """
    if not isinstance(content, Mapping) or not content:
        return "holds no spec"
    backbones, tasks = content.get("backbones", []), content.get("tasks", [])
    if not isinstance(backbones, list) or not all(isinstance(row, Mapping) for row in backbones):
        return "holds a spec whose `backbones` are no list of mappings"
    if not isinstance(tasks, list):
        return "holds a spec whose `tasks` are no list"
    for name in (content.get("name", "e"), *(row.get("name") for row in backbones), *tasks):
        if not isinstance(name, str):
            return f"holds a spec in which a name is {name!r:.40}"
        if problem := name_problem(name):
            return f"holds a spec in which the name {name!a:.60} {problem}"
    return next((problem for row in backbones if (problem := _problem_of_backbone(row))), "")


def _problem_of_backbone(row: Mapping[str, Any]) -> str:
    texts = [(key, row[key]) for key in _TEXTS if row.get(key) is not None]
    for key, value in texts:
        if not isinstance(value, str):
            return f"holds a spec in which `{key}` of {row['name']!r} is {value!r:.40}"
    size, images = row.get("params_m"), row.get("pretrain_images")
    if size is not None and not (type(size) in (int, float) and 0 < size < float("inf")):
        return f"holds a spec in which `params_m` of {row['name']!r} is {size!r:.40}"
    if images is not None and not (type(images) is int and 0 <= images < 2**63):
        return f"holds a spec in which `pretrain_images` of {row['name']!r} is {images!r:.40}"
    return ""
