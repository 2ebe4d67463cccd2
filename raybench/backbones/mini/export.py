"""Export a trained backbone: write its weights, measure the written file, write the sidecar."""

import argparse
import logging
import platform
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from raybench.backbones.mini import probe
from raybench.backbones.mini.cifar10 import Cifar10, load_cifar10
from raybench.backbones.mini.files import build, mini_info, save_weights, write_sidecar
from raybench.backbones.mini.recipes import Recipe
from raybench.backbones.mini.training import TrainingResult
from raybench.catalog.backbones import random_twin

logger = logging.getLogger(__name__)


def export(
    name: str,
    backbone: nn.Module,
    result: TrainingResult,
    recipe: Recipe,
    data: Cifar10,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Write weights and sidecar of a trained backbone; return the sidecar's content."""
    digest = save_weights(name, backbone, options.output)
    info = mini_info(name)
    trained, twin = build(info, options.output), build(random_twin(info, f"{name}.random", seed=0))
    record = {
        "name": name,
        "command": _command(name, options),
        "seed": options.seed,
        "epochs": result.epochs,
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "train_images": len(data.labels),
        "data_fingerprint": data.fingerprint,
        "seconds": round(result.seconds, 1),
        "device": options.device if options.device == "cpu" else torch.cuda.get_device_name(),
        "threads": options.threads,
        "loss": round(result.loss, 5),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "sha256": digest,
        "num_params": sum(p.numel() for p in trained.parameters()),
        **_measure(trained, twin, options),
    }
    write_sidecar(record, options.output)
    logger.info("%s %s; few-shot digits %s", name, record["linear_probe_cifar10"], record["few_shot_digits"])
    return record


def _measure(trained: nn.Module, twin: nn.Module, options: argparse.Namespace) -> dict[str, Any]:
    train = load_cifar10("train", options.data, options.cache)
    test = load_cifar10("test", options.data, options.cache)
    fit, held_out = cifar10_slices(train, test)
    correct, twin_correct = (
        probe.tuned_probe(
            *(probe.extract(model, fit.images), fit.labels),
            *(probe.extract(model, held_out.images), held_out.labels),
        )
        for model in (trained, twin)
    )
    digits, targets = probe.digit_images()
    shots, twin_shots = (probe.few_shot(probe.extract(model, digits), targets) for model in (trained, twin))
    return {
        "num_features": probe.extract(trained, digits[:1]).shape[1],
        "linear_probe_cifar10": {
            **_against_twin(correct.astype(float), twin_correct.astype(float)),
            "fit_images": len(fit.labels),
            "test_images": len(held_out.labels),
            "test_fingerprint": test.fingerprint,
        },
        "few_shot_digits": {
            **_against_twin(shots, twin_shots),
            "shots": probe.SHOTS,
            "draws": probe.SHOT_SEEDS,
        },
        "slices": {
            "cifar10": probe.slice_accuracy(
                trained, fit.images, fit.labels, held_out.images, held_out.labels
            ),
            "digits": probe.digits_slice_accuracy(trained),
        },
    }


def cifar10_slices(train: Cifar10, test: Cifar10) -> tuple[Cifar10, Cifar10]:
    """Images that probes are fitted and evaluated on: every 5th training image, and all test images.

    Both are shuffled by a fixed seed, so that any prefix holds every class though the Parquet copy is sorted
    by class.
    """
    order = np.random.default_rng(0).permutation(len(train.labels[:: probe.FIT_EVERY])) * probe.FIT_EVERY
    return train.subset(order), test.subset(np.random.default_rng(0).permutation(len(test.labels)))


def _against_twin(trained: np.ndarray, twin: np.ndarray) -> dict[str, Any]:
    low, high = probe.interval_of_mean(trained - twin)
    return {
        "accuracy": round(float(trained.mean()), 4),
        "random_twin": round(float(twin.mean()), 4),
        "margin": round(float((trained - twin).mean()), 4),
        "margin_95": [round(low, 4), round(high, 4)],
    }


def _command(name: str, options: argparse.Namespace) -> str:
    """Command that reproduces the file, without paths of this machine."""
    changed = [f"--{key} {value}" for key in ("epochs", "seed") if (value := getattr(options, key))]
    return " ".join([f"python -m raybench.backbones.mini.pretrain {name}", *changed])
