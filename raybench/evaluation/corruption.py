"""The evaluator `corruption`: accuracy under noise, blur, weather and compression."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import torch

from raybench.catalog.evaluators.corruption import ALEXNET_ERRORS, CorruptionSettings
from raybench.core.condition import Condition
from raybench.data.batches import batches
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.precision import mixed_precision
from raybench.evaluation.subject import Subject
from raybench.evaluation.subset import stated_subset
from raybench.metrics.corruption import (
    alexnet_normalized_mce,
    corruption_accuracy,
    mean_corruption_error,
    relative_corruption_error,
)
from raybench.perturbations.corruptions import CORRUPTIONS, Corruption
from raybench.store.files import read_bytes, write_atomic

IMAGENET_CLASSES = 1000


def corruption(subject: Subject, settings: CorruptionSettings) -> Evaluation:
    """Damage a stated subset of test in every way and at every severity, and classify it.

    One forward pass per damaged image; the clean accuracy on the same images is that of the predictions.
    What is done is kept after every (corruption, severity), so an interrupted evaluator goes on from there.

    Returns:
        `accuracy` per corruption and severity, `corruption_accuracy` per corruption, and over all corruptions
        except frost `mean_corruption_error` and `relative_corruption_error`: error rates, comparable within a
        task. With 1,000 classes and ImageNet-C's corruptions and severities also `alexnet_normalized_mce`:
        each corruption's error divided by AlexNet's, then averaged.

    Two differences from ImageNet-C's files remain: those were saved as JPEG of quality 85, and at other input
    sizes than 224 lengths are scaled. Frost is drawn (see its docstring), so no mean contains it.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    test = subject.predictions["test"]
    positions = stated_subset(test.ids, settings.num_examples)
    clean_error = float(np.mean(test.logits[positions].argmax(axis=1) != test.targets[positions]))
    findings: list[Finding] = []
    rows: list[Mapping[str, float | str]] = []
    means: dict[str, float] = {}

    def add(metric: str, condition: str, value: float) -> None:
        findings.append(
            Finding(
                metric=metric, condition=Condition.parse(condition), value=value, num_examples=len(positions)
            )
        )

    severities = "+".join(map(str, settings.severities))
    version = f"version={settings.version}"
    for name in settings.corruptions:
        accuracies = []
        for severity in settings.severities:
            accuracy = _kept_accuracy(subject, positions, CORRUPTIONS[name], severity)
            accuracies.append(accuracy)
            add("accuracy", f"{name}(severity={severity},{version})", accuracy)
            rows.append({"corruption": name, "severity": severity, "accuracy": accuracy})
        means[name] = corruption_accuracy(accuracies)
        add("corruption_accuracy", f"{name}(severities={severities},{version})", means[name])
    if settings.averaged:
        over_all = f"corruption({_listed(settings.averaged)},severities={severities},{version})"
        averaged = [means[name] for name in settings.averaged]
        add("mean_corruption_error", over_all, mean_corruption_error(averaged))
        add("relative_corruption_error", over_all, relative_corruption_error(averaged, clean_error))
        if settings.is_imagenet_c and subject.context.dataset.num_classes == IMAGENET_CLASSES:
            reference = [ALEXNET_ERRORS[name] for name in settings.averaged]
            add("alexnet_normalized_mce", over_all, alexnet_normalized_mce(averaged, reference))
    return Evaluation(findings=tuple(findings), curves={"corruption_accuracy": tuple(rows)})


def _listed(names: tuple[str, ...]) -> str:
    """All names where they are few, else how many and a digest."""
    if len(names) <= 5:
        return "+".join(names)
    return f"{len(names)}:{hashlib.sha256(' '.join(names).encode()).hexdigest()[:6]}"


def _kept_accuracy(subject: Subject, positions: np.ndarray, damage: Corruption, severity: int) -> float:
    """The accuracy, from an earlier attempt where it got that far."""
    version = CorruptionSettings.version
    file = subject.checkpoint_dir / f"{damage.name}-{severity}-{len(positions)}-v{version}.json"
    try:
        return float(json.loads(read_bytes(file))["accuracy"])
    except (OSError, ValueError, KeyError):
        accuracy = _accuracy(subject, positions, damage, severity)
        content = json.dumps({"accuracy": accuracy}).encode()
        write_atomic(file, lambda stream: stream.write(content))
        return accuracy


def _accuracy(subject: Subject, positions: np.ndarray, damage: Corruption, severity: int) -> float:
    context, test = subject.context, subject.predictions["test"]
    stream = batches(
        context.dataset.test.take(positions),
        subject.preprocessing,
        subject.batch_size,
        num_threads=context.num_threads,
        device=context.device,
    )
    answers, done = [], 0
    with torch.inference_mode():
        for pixels in stream:
            ids = [test.ids[p] for p in positions[done : done + len(pixels)]]
            done += len(pixels)
            damaged = damage(pixels, severity, ids)
            with mixed_precision(context.device):
                answers.append(subject.classifier(damaged).argmax(dim=1).cpu().numpy())
    return float(np.mean(np.concatenate(answers) == test.targets[positions]))
