"""Images → frozen features, one pass."""

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


def extract(
    backbone: Backbone, examples: Examples, *, device: torch.device | str, batch_size: int
) -> Iterator[Features]:
    """Yield the backbone's own features of all examples in order, batch by batch, as float32 on the CPU.

    Raises:
        DivergedError: a feature is NaN or infinite.
    """
    for (features,) in extract_views(
        backbone, examples, [FeatureSpec()], device=device, batch_size=batch_size
    ):
        yield features


def extract_views(
    backbone: Backbone,
    examples: Examples,
    views: Sequence[FeatureSpec],
    *,
    device: torch.device | str,
    batch_size: int,
) -> Iterator[list[Features]]:
    """The same for several views of each batch, which share its forward passes.

    The backbone is frozen meanwhile: evaluation mode, no gradients, no batch-norm update.

    Raises:
        DivergedError: a feature is NaN or infinite.
    """
    done = 0
    with backbone.frozen(), torch.inference_mode():
        for pixels in batches(examples, backbone.preprocessing, batch_size, device=device):
            described = [view.float().cpu().numpy() for view in backbone.describe(pixels, views)]
            for features in described:
                if np.isfinite(features).all():
                    continue
                row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
                raise DivergedError(
                    f"{backbone.info.name} gives features that are not finite on example "
                    f"{examples.ids[done + row]!r} of {len(examples)}; its weights are damaged, or its "
                    "preprocessing is not the one it was trained with."
                )
            done += len(pixels)
            yield described
