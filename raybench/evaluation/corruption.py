"""The evaluator `corruption`: accuracy under noise, blur, weather and compression."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import torch

from raybench.catalog.evaluators.corruption import CorruptionSettings
from raybench.core.condition import Condition
from raybench.data.batches import batches
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.precision import mixed_precision
from raybench.evaluation.subject import Subject
from raybench.evaluation.subset import stated_subset
from raybench.perturbations.corruptions import CORRUPTIONS, Corruption
from raybench.store.files import read_bytes, write_atomic


def corruption(subject: Subject, settings: CorruptionSettings) -> Evaluation:
    """Damage a stated subset of test in every way and at every severity, and classify it.

    One forward pass per damaged image; the clean accuracy on the same images is that of the predictions.
    What is done is kept after every (corruption, severity), so an interrupted evaluator goes on from there.

    Returns:
        `accuracy` per corruption and severity, `corruption_accuracy` per corruption, and over all corruptions
        `mean_corruption_error` and `relative_corruption_error`. ImageNet-C divides errors by AlexNet's, which
        exist for ImageNet alone: here they stay error rates, comparable within a task.

    Source: Hendrycks & Dietterich, ICLR 2019, section 4.
    """
    test = subject.predictions["test"]
    positions = stated_subset(test.ids, settings.num_examples)
    clean_error = float(np.mean(test.logits[positions].argmax(axis=1) != test.targets[positions]))
    findings: list[Finding] = []
    rows: list[Mapping[str, float | str]] = []
    errors = []

    def found(metric: str, condition: str, value: float) -> None:
        findings.append(
            Finding(
                metric=metric, condition=Condition.parse(condition), value=value, num_examples=len(positions)
            )
        )

    severities = "+".join(map(str, settings.severities))
    for name in settings.corruptions:
        accuracies = []
        for severity in settings.severities:
            accuracy = _kept_accuracy(subject, positions, CORRUPTIONS[name], severity)
            accuracies.append(accuracy)
            found("accuracy", f"{name}(severity={severity})", accuracy)
            rows.append({"corruption": name, "severity": severity, "accuracy": accuracy})
        mean = float(np.mean(accuracies))
        found("corruption_accuracy", f"{name}(severities={severities})", mean)
        errors.append(1.0 - mean)
    over_all = f"corruption({_listed(settings.corruptions)},severities={severities})"
    found("mean_corruption_error", over_all, float(np.mean(errors)))
    found("relative_corruption_error", over_all, float(np.mean(errors)) - clean_error)
    return Evaluation(findings=tuple(findings), curves={"corruption_accuracy": tuple(rows)})


def _listed(names: tuple[str, ...]) -> str:
    """All names where they are few, else how many and a digest."""
    if len(names) <= 5:
        return "+".join(names)
    return f"{len(names)}:{hashlib.sha256(' '.join(names).encode()).hexdigest()[:6]}"


def _kept_accuracy(subject: Subject, positions: np.ndarray, damage: Corruption, severity: int) -> float:
    """The accuracy, from an earlier attempt where it got that far."""
    file = subject.checkpoint_dir / f"{damage.name}-{severity}-{len(positions)}.json"
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
