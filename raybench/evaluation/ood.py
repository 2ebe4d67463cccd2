"""The evaluator `ood`: does the classifier notice images of no class it knows?"""

import numpy as np

from raybench.catalog.evaluators.ood import OodSettings, ScoreName
from raybench.core.condition import Condition
from raybench.core.errors import DataError
from raybench.data.dataset import Dataset
from raybench.evaluation.ood_scores import energy_score, knn_score, mahalanobis_score, msp_score
from raybench.evaluation.outcomes import Evaluation, Finding
from raybench.evaluation.subject import Representations, Subject
from raybench.metrics.ood import auroc, fpr95, mean_auroc

CONSTANT = 1e-5
"""An energy that is nowhere larger is float32's rounding of 0."""


def ood(subject: Subject, settings: OodSettings) -> Evaluation:
    """Part the test images from those of other datasets by scores of logits and features.

    Of a frozen backbone, features of train and test are in the store already, and each other dataset's test
    split runs through it once; through a fine-tuned one all of these run once per final trial. Features of
    train are the bank of the `knn` and `mahalanobis` scores.

    Returns:
        `ood_auroc` and `fpr95` per dataset and score; `mean_ood_auroc` of the first score over all datasets.

    Raises:
        DataError: if no dataset is left beside the task's own, or `energy` is the only score where it says
            nothing.
    """
    own = subject.context.dataset
    kinds = dict.fromkeys(settings.near, "near") | dict.fromkeys(settings.far, "far")
    others = {name: kind for name, kind in kinds.items() if not _is_same(subject.load_dataset(name), own)}
    if not others:
        raise DataError(
            f"evaluator 'ood' has no dataset beside {own.info.name!r}; name some under `near` or `far`."
        )
    inside = subject.represent(own, "test")
    train = subject.represent(own, "train")
    scores, warnings = _telling(settings.scores, inside)
    known = {score: _score(score, inside, train) for score in scores}
    findings: list[Finding] = []
    values: dict[str, list[tuple[float, float]]] = {score: [] for score in scores}
    num_outside = 0
    for name, kind in others.items():
        outside = subject.represent(subject.load_dataset(name), "test")
        num_outside += len(outside.ids)
        for score in scores:
            found = _score(score, outside, train)
            pair = auroc(known[score], found), fpr95(known[score], found)
            values[score].append(pair)
            condition = f"ood({kind}:{name},score={score})"
            findings += _findings(condition, *pair, len(inside.ids) + len(outside.ids))
    headline = scores[0]
    names = "+".join(f"{kind}:{name}" for name, kind in others.items())
    mean = Finding(
        metric="mean_ood_auroc",
        condition=Condition("ood", names, (("score", headline),)),
        value=mean_auroc([area for area, _ in values[headline]]),
        num_examples=len(inside.ids) + num_outside,
    )
    return Evaluation(findings=(*findings, mean), warnings=warnings)


def _telling(
    scores: tuple[ScoreName, ...], inside: Representations
) -> tuple[tuple[ScoreName, ...], tuple[str, ...]]:
    """(Scores that can differ between images, warnings about those that cannot).

    The energy of log probabilities is log 1: their rounding would be ranked.
    """
    if "energy" not in scores or np.abs(energy_score(inside.logits)).max() > CONSTANT:
        return scores, ()
    others = tuple(score for score in scores if score != "energy")
    if not others:
        raise DataError(
            "evaluator 'ood' has no score but 'energy', which is 0 for log probabilities; add one."
        )
    return others, ("score 'energy' is left out: these logits are log probabilities, whose energy is 0.",)


def _is_same(one: Dataset, other: Dataset) -> bool:
    """Whether both are cut from the same images: `digits` and `digits_10shot` are."""
    first, second = one.info.source, other.info.source
    return (first.kind, first.location) == (second.kind, second.location)


def _findings(condition: str, area: float, rate: float, num_examples: int) -> list[Finding]:
    return [
        Finding(metric=metric, condition=Condition.parse(condition), value=value, num_examples=num_examples)
        for metric, value in (("ood_auroc", area), ("fpr95", rate))
    ]


def _score(name: str, of: Representations, train: Representations) -> np.ndarray:
    if name == "msp":
        return msp_score(of.logits)
    if name == "energy":
        return energy_score(of.logits)
    if name == "knn":
        return knn_score(of.features, train.features)
    return mahalanobis_score(of.features, train.features, train.targets)
