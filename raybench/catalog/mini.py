"""Mini backbones that ship with the package: four timm architectures × pretraining methods.

Data, input size, model size and training time are the same or similar, so that families (prefix of the name)
and pretraining methods (suffix) can each be compared with the other fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raybench.catalog.backbone_info import BackboneInfo, Family

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)
INPUT_SIZE = 32
"""Side of CIFAR-10's images and of every mini backbone's input, pixels."""
NUM_TRAIN_IMAGES = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniArchitecture:
    """A timm model reduced by keyword arguments to 32-pixel inputs and CPU speed."""

    timm: str
    kwargs: Mapping[str, Any]
    family: Family
    params_m: float
    """Millions of parameters without a head; checked by tests/backbones/mini/test_weights.py."""
    methods: tuple[str, ...]
    """Methods with a weight file; every architecture also has `random`."""


ARCHITECTURES: Mapping[str, MiniArchitecture] = {
    "mini_resnet": MiniArchitecture(
        timm="resnet10t",
        kwargs={"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 128], "stem_width": 16, "output_stride": 16},
        family="cnn",
        params_m=0.499,
        methods=("supervised", "supervised10", "simclr"),
    ),
    "mini_convnext": MiniArchitecture(
        timm="convnext_atto",
        kwargs={
            "patch_size": 2,
            "depths": [1, 1, 2, 1],
            "dims": [24, 48, 80, 120],
            "kernel_sizes": 3,
            "ls_init_value": None,  # timm's 1e-6 suits long training only.
            "output_stride": 8,  # A last map of 4×4, like the ResNet's.
        },
        family="cnn",
        params_m=0.309,
        methods=("supervised", "supervised10", "simclr"),
    ),
    "mini_vit": MiniArchitecture(
        timm="vit_tiny_patch16_224",
        kwargs={
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 128,
            "depth": 4,
            "num_heads": 4,
            "mlp_ratio": 2,
            "class_token": False,
            "global_pool": "avg",
        },
        family="transformer",
        params_m=0.557,
        methods=("supervised", "supervised10", "simclr", "mae"),
    ),
    "mini_swin": MiniArchitecture(
        timm="swin_tiny_patch4_window7_224",
        kwargs={
            "img_size": 32,
            "patch_size": 4,
            "window_size": 4,
            "embed_dim": 36,
            "depths": [1, 2, 1],
            "num_heads": [2, 4, 8],
            "mlp_ratio": 2,
            "drop_path_rate": 0.0,
        },
        family="transformer",
        params_m=0.318,
        methods=("supervised", "supervised10", "simclr", "simmim"),
    ),
}
"""Masked pretraining is the masked autoencoder for the ViT, and SimMIM for the Swin, whose windows need all
tokens."""


def _row(architecture: str, method: str) -> BackboneInfo:
    shape = ARCHITECTURES[architecture]
    name = f"{architecture}.{method}"
    is_random = method == "random"
    return BackboneInfo(
        name=name,
        timm=shape.timm,
        kwargs=shape.kwargs,
        weights="random" if is_random else "file",
        checkpoint=None if is_random else f"package:{name}.safetensors",
        preprocessing={
            "input_size": INPUT_SIZE,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": CIFAR10_MEAN,
            "std": CIFAR10_STD,
        },
        family=shape.family,
        method={"random": "none", "supervised10": "supervised"}.get(method, method),
        pretrain_data="none" if is_random else "cifar10",
        pretrain_images={"random": 0, "supervised10": NUM_TRAIN_IMAGES // 10}.get(method, NUM_TRAIN_IMAGES),
        input_size=INPUT_SIZE,
        params_m=shape.params_m,
        licence="Apache-2.0",
        citation="raybench; architecture by timm (Wightman)",
        groups=("mini",),
    )


PRETRAINED: Mapping[str, tuple[str, str]] = {
    f"{architecture}.{method}": (architecture, method)
    for architecture, shape in ARCHITECTURES.items()
    for method in shape.methods
}
"""Name of a mini backbone with a weight file → (architecture, method)."""

MINI: tuple[BackboneInfo, ...] = tuple(
    _row(architecture, method)
    for architecture, shape in ARCHITECTURES.items()
    for method in (*shape.methods, "random")
)
"""Every mini backbone, random twins included, in the order of the README's table."""
