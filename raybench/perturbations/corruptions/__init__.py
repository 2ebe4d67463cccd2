"""The corruptions of ImageNet-C, computed from clean images on the device."""

from raybench.perturbations.corruptions import blur, digital, noise, spatter, weather
from raybench.perturbations.corruptions.registry import CORRUPTIONS, Corruption

__all__ = ["CORRUPTIONS", "Corruption", "blur", "digital", "noise", "spatter", "weather"]
