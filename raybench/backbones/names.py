"""Which names timm knows."""

from functools import lru_cache

import timm


@lru_cache(maxsize=1)
def timm_names() -> list[str]:
    """Every name `timm.create_model` takes, sorted: architectures, bare and with the tags of weights."""
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True, include_tags=True)})


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(timm_names())


def is_timm_name(name: str) -> bool:
    """Whether timm knows this name, tag included. (`timm.models.is_model` accepts any tag.)"""
    return name in _known()


def has_timm_weights(name: str) -> bool:
    """Whether timm knows pretrained weights by this name; a bare architecture has its default tag's."""
    config = timm.get_pretrained_cfg(name) if is_timm_name(name) else None
    return config is not None and bool(config.has_weights)
