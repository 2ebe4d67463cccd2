"""Backbones by name. A name is the upstream one with its tag, so no two checkpoints share a label.

Rows are the timm checkpoints of Battle of the Backbones (Goldblum et al., NeurIPS 2023; group `bob`), small
timm checkpoints (group `starter`) and the mini backbones that ship with raybench (`mini.py`). Any other timm
name works without a row. Backbones of the paper whose weights timm 1.0 does not publish are missing: DINO
ResNet-50, VICReg, MoCo v3, SSCD, MiDaS and Stable Diffusion.

Parameters are counted without the head; licences are those in timm's pretrained configs (1.0.31).
"""

import re
from dataclasses import replace
from fnmatch import fnmatchcase

from raybench.catalog.backbone_info import BackboneInfo, Family
from raybench.catalog.mini import MINI
from raybench.core.errors import UnknownNameError
from raybench.core.registry import Registry, suggest

PRETRAIN_IMAGES = {
    "imagenet1k": 1_281_167,
    "imagenet21k": 14_197_122,
    "laion2b": 2_300_000_000,
    "wit400m": 400_000_000,
    "sa1b": 11_000_000,
}
"""Images in each pretraining dataset (image-text pairs for laion2b and OpenAI's wit400m)."""

SUP = "supervised"
IN1K, IN21K = "imagenet1k", "imagenet21k"
APACHE, BSD, MIT = "apache-2.0", "bsd-3-clause", "mit"
RESNET = "He et al., arXiv 1512.03385"
RSB = "Wightman et al., ResNet strikes back, arXiv 2110.00476"
CONVNEXT = "Liu et al., arXiv 2201.03545"
AUGREG = "Steiner et al., How to train your ViT?, arXiv 2106.10270"
DEIT = "Touvron et al., arXiv 2012.12877"
DINO = "Caron et al., arXiv 2104.14294"
MAE = "He et al., arXiv 2111.06377"
CLIP = "Radford et al., arXiv 2103.00020"
OPENCLIP = "Cherti et al., arXiv 2212.07143"
SWINV2 = "Liu et al., arXiv 2111.09883"
SAM = "Kirillov et al., arXiv 2304.02643"
EFFICIENTNET = "Tan and Le, arXiv 1905.11946"
REGNET = "Radosavovic et al., arXiv 2003.13678"
MOBILENETV3 = "Howard et al., arXiv 1905.02244"
MOBILEVIT = "Mehta and Rastegari, arXiv 2110.02178"
BOB, BOB_SMALL, TINY = ("bob",), ("bob", "bob-small"), ("bob-tiny",)
EXTRA, DETECTION, RETRIEVAL = ("bob-extra",), ("bob-detection",), ("bob-retrieval",)
STARTER, TINY_STARTER = ("starter",), ("bob-tiny", "starter")

_Rows = tuple[tuple[str, str, str, int, float, str, str, tuple[str, ...]], ...]
_CNN: _Rows = (
    # name, method, pretraining data, input size (pixels), parameters (millions), licence, citation, groups
    ("resnet50.a1_in1k", SUP, IN1K, 224, 23.51, APACHE, RSB, BOB_SMALL),
    ("resnet101.a1h_in1k", SUP, IN1K, 224, 42.50, APACHE, RSB, BOB),
    # The paper's detection runs used torchvision's weights under the same label as the two above.
    ("resnet50.tv_in1k", SUP, IN1K, 224, 23.51, BSD, RESNET, DETECTION),
    ("resnet101.tv_in1k", SUP, IN1K, 224, 42.50, BSD, RESNET, DETECTION),
    ("resnet50_clip.openai", "clip", "wit400m", 224, 36.22, MIT, CLIP, BOB),
    ("resnet101_clip.openai", "clip", "wit400m", 224, 55.21, MIT, CLIP, EXTRA),
    ("resnet50x64_clip.openai", "clip", "wit400m", 448, 416.19, MIT, CLIP, EXTRA),
    ("convnext_tiny.fb_in1k", SUP, IN1K, 224, 27.82, APACHE, CONVNEXT, BOB_SMALL),
    ("convnext_base.fb_in1k", SUP, IN1K, 224, 87.57, APACHE, CONVNEXT, BOB),
    ("convnext_base.fb_in22k", SUP, IN21K, 224, 87.57, APACHE, CONVNEXT, BOB),
    # The paper's retrieval runs used this checkpoint under the same label as the one above.
    ("convnext_base.fb_in22k_ft_in1k", SUP, IN21K, 224, 87.57, APACHE, CONVNEXT, RETRIEVAL),
    ("convnext_small.fb_in1k", SUP, IN1K, 224, 49.45, APACHE, CONVNEXT, RETRIEVAL),
    ("convnext_small.fb_in22k_ft_in1k", SUP, IN21K, 224, 49.45, APACHE, CONVNEXT, RETRIEVAL),
    ("convnext_xlarge.fb_in22k_ft_in1k", SUP, IN21K, 224, 348.15, APACHE, CONVNEXT, EXTRA),
    ("efficientnet_b0.ra_in1k", SUP, IN1K, 224, 4.01, APACHE, EFFICIENTNET, TINY_STARTER),
    ("resnet18.tv_in1k", SUP, IN1K, 224, 11.18, BSD, RESNET, TINY),
    ("regnetx_004.pycls_in1k", SUP, IN1K, 224, 4.77, MIT, REGNET, TINY_STARTER),
    ("resnet18.a1_in1k", SUP, IN1K, 224, 11.18, APACHE, RSB, STARTER),
    ("resnet34.a1_in1k", SUP, IN1K, 224, 21.28, APACHE, RSB, ()),
    ("mobilenetv3_small_100.lamb_in1k", SUP, IN1K, 224, 1.52, APACHE, MOBILENETV3, STARTER),
    ("mobilenetv3_large_100.ra_in1k", SUP, IN1K, 224, 4.20, APACHE, MOBILENETV3, ()),
    ("convnext_atto.d2_in1k", SUP, IN1K, 224, 3.37, APACHE, CONVNEXT, STARTER),
)
_SWIN_B16 = "swinv2_base_window12to16_192to256.ms_in22k_ft_in1k"
_SWIN_B24 = "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k"
_SWIN_L16 = "swinv2_large_window12to16_192to256.ms_in22k_ft_in1k"
_SWIN_L24 = "swinv2_large_window12to24_192to384.ms_in22k_ft_in1k"
_TRANSFORMER: _Rows = (
    ("vit_small_patch16_224.augreg_in1k", SUP, IN1K, 224, 21.67, APACHE, AUGREG, BOB_SMALL),
    ("vit_base_patch16_224.augreg_in1k", SUP, IN1K, 224, 85.80, APACHE, AUGREG, BOB),
    ("vit_small_patch16_224.augreg_in21k_ft_in1k", SUP, IN21K, 224, 21.67, APACHE, AUGREG, BOB_SMALL),
    ("vit_base_patch16_224.augreg_in21k_ft_in1k", SUP, IN21K, 224, 85.80, APACHE, AUGREG, BOB),
    ("vit_large_patch16_224.augreg_in21k_ft_in1k", SUP, IN21K, 224, 303.30, APACHE, AUGREG, RETRIEVAL),
    # The paper's detection runs used DeiT under the label "ViT, supervised, ImageNet-1k".
    ("deit_small_patch16_224.fb_in1k", SUP, IN1K, 224, 21.67, APACHE, DEIT, DETECTION),
    ("deit_base_patch16_384.fb_in1k", SUP, IN1K, 384, 86.09, APACHE, DEIT, DETECTION),
    ("vit_small_patch16_224.dino", "dino", IN1K, 224, 21.67, APACHE, DINO, BOB_SMALL),
    ("vit_base_patch16_224.dino", "dino", IN1K, 224, 85.80, APACHE, DINO, BOB),
    ("vit_base_patch16_224.mae", "mae", IN1K, 224, 85.80, "cc-by-nc-4.0", MAE, BOB),
    ("vit_large_patch16_224.mae", "mae", IN1K, 224, 303.30, "cc-by-nc-4.0", MAE, EXTRA),
    ("vit_base_patch16_clip_224.laion2b", "clip", "laion2b", 224, 85.80, APACHE, OPENCLIP, BOB),
    ("vit_large_patch14_clip_224.laion2b", "clip", "laion2b", 224, 303.18, APACHE, OPENCLIP, EXTRA),
    ("swinv2_tiny_window8_256.ms_in1k", SUP, IN1K, 256, 27.58, MIT, SWINV2, BOB_SMALL),
    ("swinv2_base_window8_256.ms_in1k", SUP, IN1K, 256, 86.89, MIT, SWINV2, BOB),
    # Two SwinV2-B of the paper, both pretrained on ImageNet-21k; which one leads its table is unknown.
    (_SWIN_B16, SUP, IN21K, 256, 86.89, MIT, SWINV2, BOB),
    (_SWIN_B24, SUP, IN21K, 384, 86.89, MIT, SWINV2, BOB),
    (_SWIN_L16, SUP, IN21K, 256, 195.20, MIT, SWINV2, RETRIEVAL),
    (_SWIN_L24, SUP, IN21K, 384, 195.20, MIT, SWINV2, RETRIEVAL),
    ("samvit_base_patch16.sa1b", "sam", "sa1b", 1024, 89.67, APACHE, SAM, EXTRA),
    ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", SUP, IN21K, 224, 5.52, APACHE, AUGREG, STARTER),
    ("deit_tiny_patch16_224.fb_in1k", SUP, IN1K, 224, 5.52, APACHE, DEIT, ()),
)
_HYBRID: _Rows = (("mobilevit_xxs.cvnets_in1k", SUP, IN1K, 256, 0.95, "cvnets-license", MOBILEVIT, STARTER),)

BACKBONES: Registry[BackboneInfo] = Registry("backbone", BackboneInfo)


def _add_rows(family: Family, rows: _Rows) -> None:
    for name, method, data, input_size, params_m, licence, citation, groups in rows:
        info = BackboneInfo(
            name=name,
            timm=name,
            family=family,
            method=method,
            pretrain_data=data,
            pretrain_images=PRETRAIN_IMAGES[data],
            input_size=input_size,
            params_m=params_m,
            licence=licence,
            citation=citation,
            groups=groups,
        )
        BACKBONES.add(name, info)


_add_rows("cnn", _CNN)
_add_rows("transformer", _TRANSFORMER)
_add_rows("hybrid", _HYBRID)
for _mini in MINI:
    BACKBONES.add(_mini.name, _mini)

_RANDOM_SUFFIX = re.compile(r"(?P<base>.+)\.random(?P<seed>\d*)")


def find_backbone(name: str) -> BackboneInfo:
    """Look up a row, or make the randomly initialised twin `BASE.random[N]` of a row or an architecture.

    Raises:
        UnknownNameError: if there is neither. timm's names are not looked up here.

    >>> find_backbone("resnet18.a1_in1k.random3").init_seed
    3
    """
    if name in BACKBONES:
        return BACKBONES[name]
    base, seed = split_random(name)
    if seed is None:
        return BACKBONES[name]
    if base in BACKBONES:
        return random_twin(BACKBONES[base], name, seed)
    checkpoints = checkpoints_of(base)
    if not checkpoints:
        return BACKBONES[name]
    row = BACKBONES[checkpoints[0]]
    return random_twin(replace(row, timm=architecture_of(row.timm)), name, seed)


def split_random(name: str) -> tuple[str, int | None]:
    """Split `BASE.random[N]` into (BASE, N or 0); any other name gives (name, None).

    >>> split_random("resnet18.random7"), split_random("resnet18.a1_in1k")
    (('resnet18', 7), ('resnet18.a1_in1k', None))
    """
    match = _RANDOM_SUFFIX.fullmatch(name)
    return (match["base"], int(match["seed"] or 0)) if match else (name, None)


def random_twin(info: BackboneInfo, name: str, seed: int) -> BackboneInfo:
    """Row of the same architecture, not pretrained but initialised with torch seed `seed`.

    Raises:
        UnknownNameError: if torch takes no such seed.
    """
    if seed >= 2**63:
        raise UnknownNameError(f"backbone {name!r}: the seed of a random twin must be below 2^63.")
    return replace(
        info,
        name=name,
        weights="random",
        checkpoint=None,
        init_seed=seed,
        method="none",
        pretrain_data="none",
        pretrain_images=0,
        groups=(),
    )


def architecture_of(name: str) -> str:
    """Architecture in a timm-style name, which is followed by a tag of the weights.

    >>> architecture_of("resnet50.a1_in1k"), architecture_of("resnet50")
    ('resnet50', 'resnet50')
    """
    return name.partition(".")[0]


def checkpoints_of(architecture: str) -> list[str]:
    """Names of an architecture's rows: `resnet50` → `resnet50.a1_in1k`, `resnet50.tv_in1k`."""
    return [name for name in BACKBONES if architecture_of(name) == architecture]


def group_names() -> list[str]:
    """Names of all groups, without the @, sorted."""
    return sorted({group for info in BACKBONES.values() for group in info.groups})


def expand(pattern: str) -> list[str]:
    """Expand a glob or an `@group` to names of rows, in catalogue order; any other name is kept.

    Raises:
        UnknownNameError: if the group does not exist or the glob matches no row.

    >>> expand("convnext_base.*")
    ['convnext_base.fb_in1k', 'convnext_base.fb_in22k', 'convnext_base.fb_in22k_ft_in1k']
    """
    if pattern.startswith("@"):
        members = [name for name, info in BACKBONES.items() if pattern[1:] in info.groups]
        if not members:
            groups = ["@" + group for group in group_names()]
            hint = suggest(pattern, groups) or "."
            raise UnknownNameError(f"unknown group {pattern!r}{hint} Groups: {', '.join(groups)}.")
        return members
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    matches = [name for name in BACKBONES if fnmatchcase(name, pattern)]
    if not matches:
        raise UnknownNameError(
            f"{pattern!r} matches none of the {len(BACKBONES)} backbones in the catalogue; "
            "`raybench list backbones` prints them (a glob looks at its rows, not at all of timm)."
        )
    return matches
