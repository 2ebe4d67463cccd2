"""The evaluator `ood`: do scores separate images of unknown classes from those of the task?"""

from collections.abc import Mapping

import numpy as np

from raybench.catalog.evaluators.ood import OodSettings, ScoreName
from raybench.core.condition import Condition
from raybench.core.errors import DataError
from raybench.data.dataset import Dataset
from raybench.evaluation.fitted_classifier import FittedClassifier, SplitOutputs
from raybench.evaluation.ood_scores import (
    energy_score,
    knn_score,
    mahalanobis_score,
    msp_score,
    neighbours_within_class,
)
from raybench.evaluation.outcomes import Evaluation, MetricResult
from raybench.metrics.ood import auroc, fpr95, mean_auroc

MAX_ZERO_ENERGY = 1e-5
"""If no energy is larger, all are rounding errors of 0 in float32."""


def ood(fitted: FittedClassifier, settings: OodSettings) -> Evaluation:
    """Separate the test images from those of other datasets by scores of logits and features.

    With a frozen backbone, features of train and test are stored already, and each other dataset's test split
    is passed through it once; with a fine-tuned one, all of these in every final trial.

    Returns:
        `ood_auroc` and `fpr95` per dataset and score; `mean_ood_auroc` of the first score over all datasets.

    Raises:
        DataError: if there is no other dataset, or `energy` is the only score and is constant.
    """
    dataset, kinds = fitted.context.dataset, _other_datasets(fitted, settings)
    inside, train = fitted.outputs(dataset, "test"), fitted.outputs(dataset, "train")
    scores, warnings = _informative(settings.scores, inside)
    num_neighbours = neighbours_within_class(train.targets)
    id_scores = {score: _score(score, inside, train, num_neighbours) for score in scores}
    results: list[MetricResult] = []
    headline: list[float] = []
    num_outside = 0
    for name, kind in kinds.items():
        outside = fitted.outputs(fitted.load_dataset(name), "test")
        num_outside += len(outside.ids)
        for score in scores:
            ood_scores = _score(score, outside, train, num_neighbours)
            area, rate = auroc(id_scores[score], ood_scores), fpr95(id_scores[score], ood_scores)
            if score == scores[0]:
                headline.append(area)
            results += [
                MetricResult(
                    metric=metric,
                    condition=_condition(f"{kind}:{name}", score, num_neighbours),
                    value=value,
                    num_examples=len(inside.ids) + len(outside.ids),
                )
                for metric, value in (("ood_auroc", area), ("fpr95", rate))
            ]
    names = "+".join(f"{kind}:{name}" for name, kind in kinds.items())
    mean = MetricResult(
        metric="mean_ood_auroc",
        condition=_condition(names, scores[0], num_neighbours),
        value=mean_auroc(headline),
        num_examples=len(inside.ids) + num_outside,
    )
    return Evaluation(results=(*results, mean), warnings=warnings)


def _condition(datasets: str, score: ScoreName, num_neighbours: int) -> Condition:
    k = (("k", str(num_neighbours)),) if score == "knn" else ()
    return Condition("ood", datasets, (("score", score), *k))


def _other_datasets(fitted: FittedClassifier, settings: OodSettings) -> Mapping[str, str]:
    """Dataset → `near` or `far`, without those made of the same images as the task's own."""
    dataset = fitted.context.dataset
    kinds = dict.fromkeys(settings.near, "near") | dict.fromkeys(settings.far, "far")
    others = {name: kind for name, kind in kinds.items() if not _is_same(fitted.load_dataset(name), dataset)}
    if not others:
        raise DataError(
            f"evaluator 'ood' has no dataset beside {dataset.info.name!r}; name some under `near` or `far`."
        )
    return others


def _informative(
    scores: tuple[ScoreName, ...], inside: SplitOutputs
) -> tuple[tuple[ScoreName, ...], tuple[str, ...]]:
    """(Scores that differ between images, warnings about those that do not).

    Log probabilities have the energy log 1 = 0 for every image, apart from rounding.
    """
    if "energy" not in scores or np.abs(energy_score(inside.logits)).max() > MAX_ZERO_ENERGY:
        return scores, ()
    others = tuple(score for score in scores if score != "energy")
    if not others:
        raise DataError(
            "evaluator 'ood' has no score but 'energy', which is 0 for log probabilities; add one."
        )
    return others, ("score 'energy' is left out: these logits are log probabilities, whose energy is 0.",)


def _is_same(one: Dataset, other: Dataset) -> bool:
    """Whether both are made of the same images, as `digits` and `digits_10shot` are."""
    first, second = one.info.source, other.info.source
    return (first.kind, first.location) == (second.kind, second.location)


def _score(name: ScoreName, outputs: SplitOutputs, train: SplitOutputs, num_neighbours: int) -> np.ndarray:
    if name == "msp":
        return msp_score(outputs.logits)
    if name == "energy":
        return energy_score(outputs.logits)
    if name == "knn":
        return knn_score(outputs.features, train.features, num_neighbours)
    return mahalanobis_score(outputs.features, train.features, train.targets)
