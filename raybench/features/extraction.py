"""Extract frozen features from images."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32

from raybench.backbones.backbone import Backbone
from raybench.backbones.feature_spec import FeatureSpec
from raybench.core.errors import DivergedError
from raybench.data.batches import batches
from raybench.data.dataset import Examples

Features = Float32[np.ndarray, "b d"]


def extract_features(
    backbone: Backbone,
    examples: Examples,
    specs: Sequence[FeatureSpec],
    *,
    device: torch.device | str,
    batch_size: int,
) -> Iterator[list[Features]]:
    """Yield the features of each spec for all examples in order, batch by batch, as float32 on the CPU.

    Specs share the forward passes of a batch. The backbone is frozen meanwhile: evaluation mode, no
    gradients, no batch-norm update.

    Raises:
        DivergedError: a feature is NaN or infinite.
    """
    start = 0
    with backbone.frozen(), torch.inference_mode():
        for pixels in batches(examples, backbone.preprocessing, batch_size, device=device):
            batch = [features.float().cpu().numpy() for features in backbone.extract(pixels, specs)]
            for features in batch:
                if np.isfinite(features).all():
                    continue
                row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
                raise DivergedError(
                    f"{backbone.info.name} gives features that are not finite on example "
                    f"{examples.ids[start + row]!r} of {len(examples)}; its weights are damaged, or its "
                    "preprocessing is not the one it was trained with."
                )
            start += len(pixels)
            yield batch
