"""Images → frozen features, one pass."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32

from raybench.backbones.backbone import Backbone
from raybench.data.batches import batches
from raybench.data.dataset import Examples
from raybench.errors import DivergedError

Features = Float32[np.ndarray, "b d"]


def extract(
    backbone: Backbone, examples: Examples, *, device: torch.device | str, batch_size: int
) -> Iterator[Features]:
    """Yield the features of all examples in order, batch by batch, as float32 on the CPU.

    The backbone is frozen meanwhile: evaluation mode, no gradients, no batch-norm update.

    Raises:
        DivergedError: a feature is NaN or infinite.
    """
    done = 0
    with backbone.frozen(), torch.inference_mode():
        for pixels in batches(examples, backbone.preprocessing, batch_size, device=device):
            features = backbone(pixels).float().cpu().numpy()
            if not np.isfinite(features).all():
                row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
                raise DivergedError(
                    f"{backbone.info.name} gives features that are not finite on example "
                    f"{examples.ids[done + row]!r} of {len(examples)}; its weights are damaged, or its "
                    "preprocessing is not the one it was trained with."
                )
            done += len(features)
            yield features
