"""Extract frozen features from images."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32

from raybench.backbones.backbone import Backbone
from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.feature_settings import DEFAULT_FEATURES, FeatureSettings
from raybench.core.errors import DivergedError
from raybench.data.batches import batches
from raybench.data.dataset import Examples
from raybench.features.precision import forward_precision

Features = Float32[np.ndarray, "b d"]


def extract_features(
    backbone: Backbone,
    examples: Examples,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device | str,
    batch_size: int,
    settings: FeatureSettings = DEFAULT_FEATURES,
) -> Iterator[list[Features]]:
    """Yield the features of each spec for all examples in order, batch by batch, as float32 on the CPU.

    Specs share the forward passes of a batch. The backbone is frozen meanwhile: evaluation mode, no
    gradients, no batch-norm update.

    Raises:
        DivergedError: a feature is NaN or infinite.
        ResourceError: the device lacks the precision of the settings.
    """
    start = 0
    with backbone.frozen(), torch.inference_mode():
        for pixels in batches(
            examples, backbone.preprocessing, batch_size, device=device, resize=settings.resize
        ):
            with forward_precision(settings.precision, torch.device(device)):
                extracted = backbone.extract(pixels, specs)
            batch = [features.float().cpu().numpy() for features in extracted]
            for features in batch:
                if np.isfinite(features).all():
                    continue
                row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
                raise DivergedError(
                    f"{backbone.info.name} gives features that are not finite on example "
                    f"{examples.ids[start + row]!r} of {len(examples)}; {_cause(settings)}"
                )
            start += len(pixels)
            yield batch


def _cause(settings: FeatureSettings) -> str:
    """Likely cause of features that are not finite."""
    if settings.precision == "float16":
        return "float16 ends at 65,504: take bfloat16 or float32 as `features.precision`."
    return "its weights are damaged, or its preprocessing is not the one it was trained with."
