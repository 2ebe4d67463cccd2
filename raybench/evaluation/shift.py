"""The evaluator `shift`: accuracy on shifted test sets, beside clean accuracy on the same classes."""

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
from raybench.evaluation.outcomes import Evaluation, Finding, Predictions
from raybench.evaluation.subject import Representations, Subject
from raybench.metrics.shift import accuracy_gap, shape_bias, shift_accuracy

Groups = list[list[int]]
"""Per class of the shifted set the columns of the logits that count as it."""


def shift(subject: Subject, settings: ShiftSettings) -> Evaluation:
    """Measure every shifted test set that the dataset's row names; nothing where it names none.

    Per set `accuracy` (condition `shift(NAME)`), `accuracy` of the clean test images of the same classes
    under the same restriction (`matched(NAME)`) and their difference `accuracy_gap`; `shape_bias` where the
    set has a second cue; `shift_accuracy`, the mean over sets (condition `shift(mean)`).

    An answer is the most probable class among those of the shifted set, as ImageNet-A and -R are scored;
    where several classes count as one, their probabilities are averaged (Geirhos et al., ICLR 2019).

    Raises:
        DataError: if a shifted set's classes cannot be found among the classifier's.
    """
    findings: list[Finding] = []
    accuracies: list[float] = []
    num_images = 0
    for name, relation in subject.context.dataset.info.shifts.items():
        dataset = subject.load_dataset(name)
        groups = class_groups(subject.class_names, dataset.class_names, relation, name)
        shifted = subject.represent(dataset, "test")
        answers = grouped_answers(shifted.logits, groups)
        accuracy = float(np.mean(answers == shifted.targets))
        accuracies.append(accuracy)
        num_images += len(answers)
        found = [("accuracy", f"shift({name})", accuracy, len(answers))]
        matched = matched_accuracy(subject.predictions["test"], groups)
        if matched is not None:
            clean, count = matched
            found += [
                ("accuracy", f"matched({name})", clean, count),
                ("accuracy_gap", f"shift({name})", accuracy_gap(clean, accuracy), len(answers)),
            ]
        if relation.cue:
            found += _shape_bias(shifted, answers, dataset.class_names, relation.cue, name)
        findings += [
            Finding(metric=metric, condition=Condition.parse(condition), value=value, num_examples=count)
            for metric, condition, value, count in found
        ]
    if accuracies:
        mean = shift_accuracy(accuracies)
        findings.append(
            Finding(
                metric="shift_accuracy",
                condition=Condition("shift", "mean"),
                value=mean,
                num_examples=num_images,
            )
        )
    return Evaluation(findings=tuple(findings))


def class_groups(ours: Sequence[str], theirs: Sequence[str], relation: Shift, name: str) -> Groups:
    """Columns of our logits for each of their classes.

    Raises:
        DataError: if one of their classes has no column.

    >>> class_groups(["cat", "dog", "owl"], ["owl", "cat"], Shift(), "drawn")
    [[2], [0]]
    >>> class_groups(["tabby", "siamese", "husky"], ["cat"], Shift(class_map={"cat": ("tabby", 1)}), "cues")
    [[0, 1]]
    """
    position = {label: i for i, label in enumerate(ours)}
    groups: Groups = []
    for label in theirs:
        if relation.class_map is None:
            as_number = int(label) if label.isdecimal() and label not in position else None
            members: tuple[str | int, ...] = (label if as_number is None else as_number,)
        else:
            members = relation.class_map.get(label, ())
        columns = [m if isinstance(m, int) else position.get(m, -1) for m in members]
        if not columns or not all(0 <= column < len(ours) for column in columns):
            raise DataError(
                f"shifted set {name!r}: class {label!r} is not among the {len(ours)} classes of the dataset "
                f"({', '.join(ours[:4])}, ...); give `shifts: {{{name}: {{class_map: ...}}}}`."
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


def _shape_bias(
    shifted: Representations, answers: Int[np.ndarray, " n"], class_names: Sequence[str], cue: str, name: str
) -> list[tuple[str, str, float, int]]:
    """Shape decisions / (shape + texture decisions), over images whose cues differ (Geirhos et al., 2019)."""
    position = {label: i for i, label in enumerate(class_names)}
    textures = np.array([_second_cue(example_id, cue, position, name) for example_id in shifted.ids])
    bias = shape_bias(answers, shifted.targets, textures)
    return [] if bias is None else [("shape_bias", f"shift({name})", *bias)]


def _second_cue(example_id: str, cue: str, position: Mapping[str, int], name: str) -> int:
    found = re.search(cue, example_id)
    if found is None or found.group(1) not in position:
        raise DataError(
            f"shifted set {name!r}: `cue` {cue!r} finds no class of the set in the id {example_id!r}; "
            "its group must match one of them."
        )
    return position[found.group(1)]
