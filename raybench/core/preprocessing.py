"""Preprocessing of images in front of a backbone."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
CropMode = Literal["center", "squash", "border"]
CROP_PCT_BOUNDS = (0.25, 2.0)
"""timm's own lie between 0.875 and 1.15. Outside, almost nothing of an image is seen, or mostly padding."""
STD_BOUNDS = (0.001, 1.0)
"""timm's own lie between 0.143 and 1, in units of [0, 1]."""
MAX_INPUT_SIZE = 16_384
"""Pixels: the largest side of an input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Preprocessing in front of a backbone: resize, crop the centre, normalise.

    `mean` and `std` are applied *inside* the backbone, so that everything before it sees [0, 1].
    """

    input_size: int
    """Side of the square the backbone sees, pixels."""
    crop_pct: float
    """The image is resized to floor(input_size / crop_pct), then the centre is cropped."""
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_mode: CropMode = "center"
    """Which side is resized, by timm's names: `center` the short one; `squash` both, without keeping the
    aspect ratio; `border` the long one, and the rest is filled with `mean`."""

    @property
    def identity(self) -> dict[str, Any]:
        """Part of the features' cache key. The default crop mode is left out, as in earlier versions."""
        settings = asdict(self)
        return (
            settings if self.crop_mode != "center" else {k: settings[k] for k in settings if k != "crop_mode"}
        )
