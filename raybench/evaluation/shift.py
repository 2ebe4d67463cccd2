"""The evaluator `shift`: accuracy on shifted test sets, with clean accuracy on the same classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from raybench.catalog.datasets import Shift
from raybench.catalog.evaluators.shift import ShiftSettings
from raybench.core.condition import Condition
from raybench.core.errors import DataError
from raybench.evaluation.fitted_classifier import FittedClassifier, SplitOutputs
from raybench.evaluation.outcomes import Evaluation, MetricResult, Predictions
from raybench.metrics.shift import accuracy_gap, shape_bias, shift_accuracy

Groups = list[list[int]]
"""For each class of the shifted set, the columns of the logits that count as it."""


def shift(fitted: FittedClassifier, settings: ShiftSettings) -> Evaluation:
    """Measure every shifted test set that the dataset's row names.

    An answer is the most probable class among those of the shifted set, as ImageNet-A and -R are scored;
    where several classes count as one, their probabilities are averaged (Geirhos et al., ICLR 2019). Of a set
    with a second cue only the images count whose cues differ: 1,200 of the 1,280 cue-conflict images, as in
    `ShapeBias.analysis` of the authors' model-vs-human.

    Returns:
        Per set `accuracy` (condition `shift(NAME)`), `accuracy` of the clean test images of the same classes
        under the same restriction (`matched(NAME)`) and their difference `accuracy_gap`; `shape_bias` if the
        set has a second cue; `shift_accuracy`, the mean over sets (condition `shift(mean)`). Nothing if there
        are no sets.

    Raises:
        DataError: if a shifted set's classes are not among the classifier's, or its cues never differ.
    """
    results: list[MetricResult] = []
    accuracies: list[float] = []
    num_images = 0
    for name, relation in fitted.context.dataset.info.shifts.items():
        dataset = fitted.load_dataset(name)
        groups = class_groups(fitted.class_names, dataset.class_names, relation, name)
        shifted = fitted.outputs(dataset, "test")
        answers, targets = grouped_answers(shifted.logits, groups), np.asarray(shifted.targets)
        condition = Condition("shift", name)
        if relation.cue:
            textures = second_cues(shifted, dataset.class_names, relation.cue, name)
            answers, targets, textures = _in_conflict(answers, targets, textures, name)
            if (bias := shape_bias(answers, targets, textures)) is not None:
                results.append(_result("shape_bias", condition, *bias))
        accuracy = float(np.mean(answers == targets))
        accuracies.append(accuracy)
        num_images += len(answers)
        results.append(_result("accuracy", condition, accuracy, len(answers)))
        matched = matched_accuracy(fitted.predictions["test"], groups)
        if matched is not None:
            clean, num_clean = matched
            gap = accuracy_gap(clean, accuracy)
            results.append(_result("accuracy", Condition("matched", name), clean, num_clean))
            results.append(_result("accuracy_gap", condition, gap, len(answers)))
    if accuracies:
        mean = shift_accuracy(accuracies)
        results.append(_result("shift_accuracy", Condition("shift", "mean"), mean, num_images))
    return Evaluation(results=tuple(results))


def _in_conflict(
    answers: Int[np.ndarray, " n"], shapes: Int[np.ndarray, " n"], textures: Int[np.ndarray, " n"], name: str
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Answers and both cues of the images whose cues differ."""
    differ = shapes != textures
    if not differ.any():
        raise DataError(
            f"shifted set {name!r}: in none of its {len(shapes)} images the second cue differs from the "
            "label, so nothing can be measured; correct `cue`, or leave it out."
        )
    return answers[differ], shapes[differ], textures[differ]


def _result(metric: str, condition: Condition, value: float, num_examples: int) -> MetricResult:
    return MetricResult(metric=metric, condition=condition, value=value, num_examples=num_examples)


def class_groups(classes: Sequence[str], shifted: Sequence[str], relation: Shift, name: str) -> Groups:
    """For each class of the shifted set `name`, the columns of the logits (named `classes`) that count as it.

    Raises:
        DataError: if a class of the shifted set has no column.

    >>> class_groups(["cat", "dog", "owl"], ["owl", "cat"], Shift(), "drawn")
    [[2], [0]]
    >>> class_groups(["tabby", "siamese", "husky"], ["cat"], Shift(class_map={"cat": ("tabby", 1)}), "cues")
    [[0, 1]]
    """
    position = {label: i for i, label in enumerate(classes)}
    groups: Groups = []
    for label in shifted:
        if relation.class_map is None:
            as_number = int(label) if label.isdecimal() and label not in position else None
            members: tuple[str | int, ...] = (label if as_number is None else as_number,)
        else:
            members = relation.class_map.get(label, ())
        columns = [m if isinstance(m, int) else position.get(m, -1) for m in members]
        if not columns or not all(0 <= column < len(classes) for column in columns):
            raise DataError(
                f"shifted set {name!r}: class {label!r} is not among the {len(classes)} classes of the "
                f"dataset ({', '.join(classes[:4])}, ...); give `shifts: {{{name}: {{class_map: ...}}}}`."
            )
        groups.append(columns)
    return groups


def grouped_answers(logits: Float[np.ndarray, "n c"], groups: Groups) -> Int[np.ndarray, " n"]:
    """The group with the highest mean probability, [n]; ties go to the earlier one."""
    probabilities = softmax(logits.astype(np.float64), axis=1)
    means = np.stack([probabilities[:, columns].mean(axis=1) for columns in groups], axis=1)
    return np.asarray(means.argmax(axis=1))


def matched_accuracy(clean: Predictions, groups: Groups) -> tuple[float, int] | None:
    """(Accuracy, images) of the clean test images whose class belongs to a group; None if there is none."""
    group_of: Mapping[int, int] = {column: g for g, columns in enumerate(groups) for column in columns}
    targets = np.array([group_of.get(int(target), -1) for target in clean.targets])
    is_in = targets >= 0
    if not is_in.any():
        return None
    answers = grouped_answers(clean.logits[is_in], groups)
    return float(np.mean(answers == targets[is_in])), int(is_in.sum())


def second_cues(
    shifted: SplitOutputs, class_names: Sequence[str], cue: str, name: str
) -> Int[np.ndarray, " n"]:
    """Class ids of the second cue (the texture, where the label is the shape), found in the examples' ids.

    Args:
        shifted: outputs for the shifted set.
        class_names: of the shifted set.
        cue: regular expression whose group matches a class name.
        name: of the shifted set, for the message.

    Raises:
        DataError: if an id has no second cue.
    """
    position = {label: i for i, label in enumerate(class_names)}
    textures = []
    for example_id in shifted.ids:
        match = re.search(cue, example_id)
        if match is None or match.group(1) not in position:
            raise DataError(
                f"shifted set {name!r}: `cue` {cue!r} finds no class of the set in the id {example_id!r}; "
                "its group must match one of them."
            )
        textures.append(position[match.group(1)])
    return np.array(textures)
