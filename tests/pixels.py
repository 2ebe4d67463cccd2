"""One image as the backbone's pixels, by a plain formula."""

import numpy as np
import torch

from raybench.core.preprocessing import Preprocessing
from raybench.data.cropping import fit_to_square


def to_pixels(image: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [h, w, 3] → float32 [3, s, s] in [0, 1]."""
    return torch.from_numpy(fit_to_square(image, preprocessing).copy()).permute(2, 0, 1).float() / 255
