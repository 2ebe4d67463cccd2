"""The evaluator `corruption`: noise, blur, weather and compression, at five severities."""

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


class CorruptionSettings(EvaluatorSettings):
    """Corruptions, severities and number of images."""

    corruptions: tuple[str, ...] = IMAGENET_C
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    num_examples: int | None = None
    """Number of test images, selected by a hash of their ids, the same for all backbones; None: all."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.corruptions) - {*IMAGENET_C, *EXTRA}):
            raise ValueError(f"unknown corruption {unknown[0]!r}; there are {', '.join(IMAGENET_C + EXTRA)}")
        if not self.corruptions or not self.severities or not set(self.severities) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"at least one corruption and severities from 1 to 5, got {self.severities}")


INFO = EvaluatorInfo(
    name="corruption",
    entry_point="raybench.evaluation.corruption:corruption",
    needs="images",
    metrics=("accuracy", "corruption_accuracy", "mean_corruption_error", "relative_corruption_error"),
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
