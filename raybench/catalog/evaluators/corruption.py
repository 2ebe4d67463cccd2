"""The evaluator `corruption`: noise, blur, weather and compression, at five severities."""

from collections.abc import Mapping
from typing import ClassVar

from raybench.catalog.evaluators.info import CurveInfo, EvaluatorInfo, EvaluatorSettings

IMAGENET_C = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 of ImageNet-C (Hendrycks & Dietterich, ICLR 2019)."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four extra corruptions that its authors reserve for validation."""
NOT_COMPARABLE = ("frost",)
"""Left out of mean errors: the authors' frost needs photographs that raybench may not ship."""
ALEXNET_ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.88160,
    "shot_noise": 0.88832,
    "impulse_noise": 0.91724,
    "defocus_blur": 0.82204,
    "glass_blur": 0.83080,
    "motion_blur": 0.78724,
    "zoom_blur": 0.79572,
    "snow": 0.86800,
    "frost": 0.83148,
    "fog": 0.82364,
    "brightness": 0.55848,
    "contrast": 0.85432,
    "elastic_transform": 0.64804,
    "pixelate": 0.71856,
    "jpeg_compression": 0.60680,
}
"""Top-1 error of AlexNet on ImageNet-C, mean of the five severities: the denominators of mCE.

Source: 1 − accuracy on RobustBench's 5,000 images, RobustBench/robustbench at 78fcc9e,
model_info/imagenet/corruptions/unaggregated_results.csv (MIT licence). The authors' errors on all
50,000 images differ by at most 0.0062.
"""


class CorruptionSettings(EvaluatorSettings):
    """Corruptions, severities and number of images.

    Version 2 computes fog, glass blur, spatter, defocus blur and elastic transform as the authors' code does,
    draws frost in the brightness of their photographs, and leaves it out of the mean errors.
    """

    version: ClassVar[int] = 2

    corruptions: tuple[str, ...] = IMAGENET_C
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    num_examples: int | None = None
    """Number of test images, selected by a hash of their ids, the same for all backbones; None: all."""

    @property
    def averaged(self) -> tuple[str, ...]:
        """Corruptions that mean corruption errors average over."""
        return tuple(name for name in self.corruptions if name not in NOT_COMPARABLE)

    @property
    def is_imagenet_c(self) -> bool:
        """Whether these are ImageNet-C's 15 corruptions at its five severities, for which mCE is defined."""
        return set(IMAGENET_C) == set(self.corruptions) and sorted(self.severities) == [1, 2, 3, 4, 5]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.corruptions) - {*IMAGENET_C, *EXTRA}):
            raise ValueError(f"unknown corruption {unknown[0]!r}; there are {', '.join(IMAGENET_C + EXTRA)}")
        if not self.corruptions or not self.severities or not set(self.severities) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"at least one corruption and severities from 1 to 5, got {self.severities}")


INFO = EvaluatorInfo(
    name="corruption",
    entry_point="raybench.evaluation.corruption:corruption",
    needs="images",
    metrics=(
        "accuracy",
        "corruption_accuracy",
        "mean_corruption_error",
        "relative_corruption_error",
        "alexnet_normalized_mce",
    ),
    headline="mean_corruption_error",
    section="Corruption robustness",
    settings=CorruptionSettings,
    presets={
        "paper": CorruptionSettings(),
        "quick": CorruptionSettings(
            corruptions=("gaussian_noise", "defocus_blur", "fog", "contrast", "jpeg_compression"),
            severities=(1, 3, 5),
            num_examples=256,
        ),
        "all": CorruptionSettings(corruptions=(*IMAGENET_C, *EXTRA)),
    },
    curves=(
        CurveInfo(
            name="corruption_accuracy",
            title="Accuracy under corruptions",
            x="severity",
            y="accuracy",
            x_title="severity",
            y_title="accuracy",
            series="corruption",
        ),
    ),
    doc="How much accuracy survives noise, blur, weather and compression, as in ImageNet-C?",
)
