"""Make the compressed tables of `raybench/catalog/published` from the sources' own files.

    python docs/published_tables.py FOLDER

FOLDER has `timm/` (results-*.csv and benchmark-infer-*.csv of huggingface/pytorch-image-models, folder
results, commit aa4b5850, Apache-2.0) and `mieb_image_only.csv` (embeddings-benchmark/results, commit f4cc6c8,
CC0, one row per model, task and split). Needs timm, for input sizes, families and the existence of names.
"""

import csv
import io
import lzma
import sys
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg, model_entrypoint

TARGET = Path(__file__).parents[1] / "raybench" / "catalog" / "published"
TASKS = {
    "imagenet": "results-imagenet.csv",
    "imagenet_real": "results-imagenet-real.csv",
    "imagenet_v2": "results-imagenetv2-matched-frequency.csv",
    "imagenet_sketch": "results-sketch.csv",
    "imagenet_a": "results-imagenet-a.csv",
    "imagenet_r": "results-imagenet-r.csv",
}
MACHINES = {
    "rtx5090": "benchmark-infer-amp-nchw-pt291-cu130-5090.csv",
    "rtx4090": "benchmark-infer-amp-nchw-pt291-cu128-4090.csv",
    "rtx3090": "benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv",
    "cpu": "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv",
}
TRANSFORMERS = {
    "beit",
    "cait",
    "crossvit",
    "davit",
    "deit",
    "eva",
    "hiera",
    "hieradet_sam2",
    "gcvit",
    "mvitv2",
    "naflexvit",
    "nest",
    "pit",
    "pvt_v2",
    "swin_transformer",
    "swin_transformer_v2",
    "swin_transformer_v2_cr",
    "tiny_vit",
    "tnt",
    "twins",
    "vision_transformer",
    "vision_transformer_relpos",
    "vision_transformer_sam",
    "volo",
    "xcit",
}
HYBRIDS = {
    "byoanet",
    "coat",
    "convit",
    "csatv2",
    "edgenext",
    "efficientformer",
    "efficientformer_v2",
    "efficientvim",
    "efficientvit_mit",
    "efficientvit_msra",
    "fastvit",
    "iformer",
    "levit",
    "lowformer",
    "maxxvit",
    "metaformer",
    "mlp_mixer",
    "mobilenetv5",
    "mobilevit",
    "nextvit",
    "repvit",
    "sequencer",
    "shvit",
    "swiftformer",
    "visformer",
    "vision_transformer_hybrid",
    "vitamin",
}
"""Modules of timm with both convolutions and attention, or with neither; all other modules are cnn."""
MIEB_IN_TIMM = {
    "QuanSun/EVA02-CLIP-B-16": "eva02_base_patch16_clip_224.merged2b",
    "QuanSun/EVA02-CLIP-L-14": "eva02_large_patch14_clip_224.merged2b",
    "QuanSun/EVA02-CLIP-bigE-14": "eva02_enormous_patch14_clip_224.laion2b",
    "QuanSun/EVA02-CLIP-bigE-14-plus": "eva02_enormous_patch14_clip_224.laion2b_plus",
    "facebook/dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "facebook/dinov2-giant": "vit_giant_patch14_dinov2.lvd142m",
    "facebook/dinov2-large": "vit_large_patch14_dinov2.lvd142m",
    "facebook/dinov2-small": "vit_small_patch14_dinov2.lvd142m",
    "google/siglip-base-patch16-224": "vit_base_patch16_siglip_224.webli",
    "google/siglip-base-patch16-256": "vit_base_patch16_siglip_256.webli",
    "google/siglip-base-patch16-256-multilingual": "vit_base_patch16_siglip_256.webli_i18n",
    "google/siglip-base-patch16-384": "vit_base_patch16_siglip_384.webli",
    "google/siglip-base-patch16-512": "vit_base_patch16_siglip_512.webli",
    "google/siglip-large-patch16-256": "vit_large_patch16_siglip_256.webli",
    "google/siglip-large-patch16-384": "vit_large_patch16_siglip_384.webli",
    "google/siglip-so400m-patch14-384": "vit_so400m_patch14_siglip_384.webli",
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": "vit_base_patch16_clip_224.datacompxl",
    "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K": "vit_base_patch32_clip_224.datacompxl",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": "vit_base_patch32_clip_224.laion2b",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "vit_huge_patch14_clip_224.laion2b",
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": "vit_large_patch14_clip_224.datacompxl",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K": "vit_large_patch14_clip_224.laion2b",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": "vit_gigantic_patch14_clip_224.laion2b",
    "laion/CLIP-ViT-g-14-laion2B-s34B-b88K": "vit_giant_patch14_clip_224.laion2b",
    "openai/clip-vit-base-patch16": "vit_base_patch16_clip_224.openai",
    "openai/clip-vit-base-patch32": "vit_base_patch32_clip_224.openai",
    "openai/clip-vit-large-patch14": "vit_large_patch14_clip_224.openai",
}
"""Only models whose image tower timm has with the same weights and input size."""


def family_of(architecture: str) -> str:
    """By the module of timm that defines it; `unknown` where this timm has no such architecture."""
    if not timm.is_model(architecture):
        return "unknown"
    module = model_entrypoint(architecture).__module__.rpartition(".")[2]
    return "transformer" if module in TRANSFORMERS else "hybrid" if module in HYBRIDS else "cnn"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def number(text: str) -> float:
    return float(text.replace(",", ""))


def timm_rows(folder: Path) -> list[dict[str, object]]:
    """One row per model that all test sets have, at its configuration's size or the smallest measured."""
    top1 = {
        task: {(row["model"], int(row["img_size"])): row for row in read(folder / file)}
        for task, file in TASKS.items()
    }
    speeds = {
        machine: {(row["model"], int(row["infer_img_size"])): row for row in read(folder / file)}
        for machine, file in MACHINES.items()
    }
    sizes: dict[str, list[int]] = {}
    for model, size in sorted(set.intersection(*(set(rows) for rows in top1.values()))):
        sizes.setdefault(model, []).append(size)
    rows = []
    for model, measured in sizes.items():
        config = get_pretrained_cfg(model)
        size = (
            config.input_size[-1] if config is not None and config.input_size[-1] in measured else measured[0]
        )
        architecture = model.partition(".")[0]
        benchmarks = {m: rows.get((architecture, size)) for m, rows in speeds.items()}
        macs = next((row["infer_gmacs"] for row in benchmarks.values() if row and row["infer_gmacs"]), "")
        rows.append(
            {
                "backbone": model,
                "family": family_of(architecture),
                "input_size": size,
                "params_m": number(top1["imagenet"][model, size]["param_count"]),
                "flops_g": round(2 * number(macs), 3) if macs else "",
                **{m: number(row["infer_samples_per_sec"]) if row else "" for m, row in benchmarks.items()},
                **{task: round(number(top1[task][model, size]["top1"]) / 100, 5) for task in TASKS},
            }
        )
    return rows


def mieb_rows(folder: Path) -> list[dict[str, object]]:
    """The probes: accuracy of logistic regression on 16 examples per class, mean of five draws."""
    by_model: dict[str, dict[str, str]] = {}
    for row in read(folder / "mieb_image_only.csv"):
        if row["kind"] == "probe":
            task = row["task"].removesuffix("Classification").lower()
            by_model.setdefault(row["model"], {})[task] = row["main_score"]
    tasks = sorted(set.union(*(set(scores) for scores in by_model.values())))
    return [
        {
            "backbone": model,
            "timm": (name := MIEB_IN_TIMM.get(model, "")),
            "family": "transformer" if name else "unknown",
            "params_m": params_m(name) if name else "",
            **{task: scores.get(task, "") for task in tasks},
        }
        for model, scores in sorted(by_model.items())
    ]


def params_m(name: str) -> float:
    if name not in timm.list_pretrained():
        raise SystemExit(f"timm has no checkpoint {name!r}")
    with torch.device("meta"):
        model = timm.create_model(name.partition(".")[0], num_classes=0)
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 2)


def write(name: str, rows: list[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (TARGET / f"{name}.csv.xz").write_bytes(lzma.compress(text.getvalue().encode(), preset=9))
    sys.stdout.write(f"{name}: {len(rows)} rows\n")


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write("timm", timm_rows(source / "timm"))
    write("mieb", mieb_rows(source))
