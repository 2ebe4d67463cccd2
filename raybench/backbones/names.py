"""Model names that timm knows."""

from functools import lru_cache

import timm
from timm.models._registry import get_deprecated_models


@lru_cache(maxsize=1)
def timm_names() -> list[str]:
    """Every name that `timm.create_model` takes, sorted: architectures, bare and with tags of weights."""
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True, include_tags=True)})


@lru_cache(maxsize=1)
def _timm_name_set() -> frozenset[str]:
    return frozenset(timm_names())


def is_timm_name(name: str) -> bool:
    """Whether timm knows this name, tag included. (`timm.models.is_model` accepts any tag.)"""
    return name in _timm_name_set()


def successor_of(name: str) -> str | None:
    """timm's present name of a model or checkpoint that it has renamed; None if it has not."""
    successor = get_deprecated_models().get(name)
    return successor if isinstance(successor, str) else None


def has_timm_weights(name: str) -> bool:
    """Whether timm publishes weights under this name; for a bare architecture, those of its default tag."""
    config = timm.get_pretrained_cfg(name) if is_timm_name(name) else None
    return config is not None and bool(config.has_weights)
