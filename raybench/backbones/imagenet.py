"""Classes of ImageNet-1k, in the order of the heads trained on it."""

import functools

from timm.data import ImageNetInfo


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids, sorted."""
    return tuple(ImageNetInfo("imagenet-1k").label_names())
