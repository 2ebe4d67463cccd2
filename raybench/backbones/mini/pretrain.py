"""Train mini backbones, export them as float16, measure the exported files, write the sidecars."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import timm
import torch

from raybench.backbones.checkpoint import MINI_WEIGHTS
from raybench.backbones.mini.cifar10 import load_cifar10
from raybench.backbones.mini.export import export
from raybench.backbones.mini.recipes import recipe_of
from raybench.backbones.mini.training import train
from raybench.catalog.dataset_info import data_folder
from raybench.catalog.mini import ARCHITECTURES
from raybench.core.errors import RaybenchError

CACHE = Path.home() / ".cache" / "raybench" / "mini"
CIFAR10 = data_folder() / "cifar10"


def pretrain(name: str, options: argparse.Namespace) -> None:
    """Train one mini backbone, resuming from its checkpoint, and write its weights and sidecar."""
    architecture, recipe = recipe_of(name)
    if options.epochs is not None:
        recipe = replace(recipe, epochs=options.epochs)
    data = load_cifar10("train", options.data, options.cache)
    data = data.tenth() if recipe.on_a_tenth else data
    shape = ARCHITECTURES[architecture]
    torch.manual_seed(options.seed)
    backbone = timm.create_model(shape.timm, num_classes=0, **shape.kwargs)
    module = recipe.method(backbone, backbone.num_features)
    result = train(
        module,
        torch.from_numpy(data.images),
        torch.from_numpy(data.labels),
        recipe=recipe,
        seed=options.seed,
        checkpoint=options.cache / "checkpoints" / f"{name}-{recipe.epochs}-{options.seed}.pt",
        device=torch.device(options.device),
    )
    export(name, backbone.cpu(), result, recipe, data, options)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m raybench.backbones.mini.pretrain", description=__doc__)
    parser.add_argument("names", nargs="+", help="e.g. mini_vit.simclr; several are made in turn")
    parser.add_argument("--data", type=Path, default=CIFAR10, help="Parquet file, or torchvision folder")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="decoded images and checkpoints (outside git)"
    )
    parser.add_argument("--output", type=Path, default=MINI_WEIGHTS, help="weights and sidecars")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 with one sentence on standard error."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads)
    try:
        for name in options.names:
            pretrain(name, options)
    except RaybenchError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
