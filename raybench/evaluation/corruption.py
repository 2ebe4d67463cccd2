"""The evaluator `corruption`: accuracy under noise, blur, weather and compression."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int

from raybench.catalog.evaluators.corruption import ALEXNET_ERRORS, CorruptionSettings
from raybench.core.condition import Condition
from raybench.evaluation.fitted_classifier import FittedClassifier
from raybench.evaluation.outcomes import Evaluation, MetricResult
from raybench.evaluation.precision import mixed_precision
from raybench.evaluation.subset import hashed_subset
from raybench.metrics.corruption import (
    alexnet_normalized_mce,
    corruption_accuracy,
    mean_corruption_error,
    relative_corruption_error,
)
from raybench.perturbations.corruptions import CORRUPTIONS, Corruption
from raybench.store.files import read_bytes, write_atomic

IMAGENET_CLASSES = 1000


def corruption(fitted: FittedClassifier, settings: CorruptionSettings) -> Evaluation:
    """Classify a subset of test under every corruption and severity.

    One forward pass per corrupted image; the clean accuracy on the same images is that of the predictions.
    Every (corruption, severity) is stored when done, so an interrupted evaluator resumes after the last one.

    Returns:
        `accuracy` per corruption and severity, `corruption_accuracy` per corruption, and over all corruptions
        except frost `mean_corruption_error` and `relative_corruption_error`: error rates, comparable within a
        task. With 1,000 classes and ImageNet-C's corruptions and severities also `alexnet_normalized_mce`:
        each corruption's error divided by AlexNet's, then averaged.

    Two differences from ImageNet-C's files remain: those were saved as JPEG of quality 85, and at other input
    sizes than 224 lengths are scaled. Frost is drawn (see its docstring), so no mean contains it.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    test = fitted.predictions["test"]
    positions = hashed_subset(test.ids, settings.num_examples)
    clean_error = float(np.mean(test.logits[positions].argmax(axis=1) != test.targets[positions]))
    severities = ("severities", "+".join(map(str, settings.severities)))
    version = ("version", str(settings.version))
    values: list[tuple[str, Condition, float]] = []
    rows: list[Mapping[str, float | str]] = []
    means: dict[str, float] = {}
    for name in settings.corruptions:
        accuracies = []
        for severity in settings.severities:
            accuracy = _stored_accuracy(fitted, positions, CORRUPTIONS[name], severity)
            accuracies.append(accuracy)
            condition = Condition(name, settings=(("severity", str(severity)), version))
            values.append(("accuracy", condition, accuracy))
            rows.append({"corruption": name, "severity": severity, "accuracy": accuracy})
        means[name] = corruption_accuracy(accuracies)
        condition = Condition(name, settings=(severities, version))
        values.append(("corruption_accuracy", condition, means[name]))
    if settings.averaged:
        condition = Condition("corruption", _joined(settings.averaged), (severities, version))
        averaged = [means[name] for name in settings.averaged]
        values.append(("mean_corruption_error", condition, mean_corruption_error(averaged)))
        relative = relative_corruption_error(averaged, clean_error)
        values.append(("relative_corruption_error", condition, relative))
        if settings.is_imagenet_c and fitted.context.dataset.num_classes == IMAGENET_CLASSES:
            reference = [ALEXNET_ERRORS[name] for name in settings.averaged]
            normalized = alexnet_normalized_mce(averaged, reference)
            values.append(("alexnet_normalized_mce", condition, normalized))
    return Evaluation(
        results=tuple(
            MetricResult(metric=metric, condition=condition, value=value, num_examples=len(positions))
            for metric, condition, value in values
        ),
        curves={"corruption_accuracy": tuple(rows)},
    )


def _joined(names: tuple[str, ...]) -> str:
    """The names, if there are at most five; else their number and a digest."""
    if len(names) <= 5:
        return "+".join(names)
    return f"{len(names)}:{hashlib.sha256(' '.join(names).encode()).hexdigest()[:6]}"


def _stored_accuracy(
    fitted: FittedClassifier, positions: Int[np.ndarray, " n"], corruption: Corruption, severity: int
) -> float:
    """`_accuracy`, read from a file if an interrupted attempt has written it."""
    version = CorruptionSettings.version
    file = fitted.checkpoint_dir / f"{corruption.name}-{severity}-{len(positions)}-v{version}.json"
    try:
        return float(json.loads(read_bytes(file))["accuracy"])
    except (OSError, ValueError, KeyError):
        accuracy = _accuracy(fitted, positions, corruption, severity)
        content = json.dumps({"accuracy": accuracy}).encode()
        write_atomic(file, lambda stream: stream.write(content))
        return accuracy


def _accuracy(
    fitted: FittedClassifier, positions: Int[np.ndarray, " n"], corruption: Corruption, severity: int
) -> float:
    """Accuracy on the corrupted test images at `positions`."""
    test = fitted.predictions["test"]
    ids = [test.ids[position] for position in positions]
    answers: list[np.ndarray] = []
    start = 0
    with torch.inference_mode():
        for pixels in fitted.pixel_batches(fitted.context.dataset.test.take(positions)):
            corrupted = corruption(pixels, severity, ids[start : start + len(pixels)])
            start += len(pixels)
            with mixed_precision(fitted.context.device):
                answers.append(fitted.classifier(corrupted).argmax(dim=1).cpu().numpy())
    return float(np.mean(np.concatenate(answers) == test.targets[positions]))
