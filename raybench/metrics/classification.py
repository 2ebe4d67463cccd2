"""Classification metrics, by torchmetrics, with the conventions that torchmetrics leaves to the caller.

All take logits, shape [n, c] (any real numbers, the larger the likelier), and true class ids in [0, c), shape
[n]; all raise what `validation.validated_tensors` raises.

Ties (docs/ties.md): of equal highest logits the lowest class id is the predicted class, and every other class
is placed last among the classes with its logit. So top-1 is always within top-5, and a class that a head
cannot tell from the rest (one without a vote in kNN) is not among its five best.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raybench.metrics.registry import METRICS, ArrayMetric, metric
from raybench.metrics.resampling import PerExampleMean, RatioOfSums
from raybench.metrics.validation import validated_tensors

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

TOP_K = 5


def places_of_true_class(metric: str, logits: NDArray[Any], targets: NDArray[Any]) -> torch.Tensor:
    """Place of each example's true class among its logits, int64, [n]; 0 is the predicted class.

    The predicted class is the lowest id among the highest logits. The place of any other class is the number
    of other classes with a logit at least as high: among equal logits it comes last, whatever its id.

    >>> import numpy as np
    >>> places_of_true_class("accuracy", np.array([[2.0, 1.0, 2.0, 1.0]] * 4), np.arange(4)).tolist()
    [0, 3, 1, 3]
    """
    return class_places(*validated_tensors(metric, logits, targets))


def class_places(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`places_of_true_class` of finite scores [n, c, ...], e.g. of many heads, and labels [n]; [n, ...]."""
    index = labels.view(-1, *[1] * (scores.ndim - 1)).expand(-1, 1, *scores.shape[2:])
    num_as_high = (scores >= scores.gather(1, index)).sum(dim=1)
    return (num_as_high - 1).masked_fill(scores.argmax(dim=1) == index[:, 0], 0)


def _correct(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    """1 where the predicted class is the true class."""
    return PerExampleMean((places_of_true_class("accuracy", logits, targets) < 1).double().numpy())


def _correct_in_top5(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    """1 where the true class is among the first five."""
    return PerExampleMean((places_of_true_class("top5_accuracy", logits, targets) < TOP_K).double().numpy())


def _recalls(logits: NDArray[Any], targets: NDArray[Any]) -> RatioOfSums:
    """Recall of each class, as a ratio of sums over its examples."""
    import numpy as np
    from scipy.sparse import csr_array

    def one_hot(values: NDArray[Any]) -> Any:
        return csr_array((values, (np.arange(len(targets)), targets)), shape=logits.shape)

    is_correct = logits.argmax(axis=1) == targets
    return RatioOfSums(one_hot(is_correct.astype(np.float64)), one_hot(np.ones(len(targets))))


def _log_losses(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    return PerExampleMean(_cross_entropy(logits, targets, "none").numpy())


@metric("accuracy", direction="max", bounds=(0.0, 1.0), resampling=_correct)
def accuracy(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Share of images whose highest logit is the true class (top-1).

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 1 is perfect, the share of the most frequent class is chance.

    Source: torchmetrics `multiclass_accuracy`, micro average; equal highest logits: the lowest class id.

    >>> import numpy as np
    >>> accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]]), np.array([0, 1, 1, 0]))
    0.75
    """
    return _share_within("accuracy", logits, targets, 1)


@metric("top5_accuracy", direction="max", bounds=(0.0, 1.0), resampling=_correct_in_top5)
def top5_accuracy(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Share of images whose true class is among the five highest logits (all of them if c < 5).

    Of classes with equal logits, those that do not all fit among the five are left out, except the predicted
    class: see `places_of_true_class`. With five classes or fewer the value is always 1; it is computed all
    the same, so that tasks with few and many classes have the same table columns.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 1 is perfect, 5 / c is chance on balanced classes.

    Source: torchmetrics `multiclass_accuracy`, micro average, top_k = min(5, c), where no logits are equal;
    torchmetrics leaves ties to `torch.topk`, whose choice differs between processors.

    >>> import numpy as np
    >>> top5_accuracy(np.array([[6.0, 5, 4, 3, 2, 1], [6.0, 5, 4, 3, 2, 1]]), np.array([4, 5]))
    0.5
    """
    return _share_within("top5_accuracy", logits, targets, TOP_K)


@metric("mean_class_accuracy", direction="max", bounds=(0.0, 1.0), resampling=_recalls)
def mean_class_accuracy(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean over classes of the share of that class's images that are recognised; all classes weigh the same.

    Classes without a true example are left out, as in scikit-learn's `balanced_accuracy_score`. (The macro
    average of torchmetrics leaves a class out only if it is also never *predicted*, so one wrong answer would
    change the number of classes averaged over.)

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 1 is perfect, 1 / c is chance.

    Source: VTAB and FGVC-Aircraft report it; torchmetrics `multiclass_stat_scores` per class.

    >>> import numpy as np
    >>> mean_class_accuracy(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 0, 1]))
    0.5
    """
    from torchmetrics.functional.classification import multiclass_stat_scores

    scores, labels = validated_tensors("mean_class_accuracy", logits, targets)
    counts = multiclass_stat_scores(scores, labels, num_classes=scores.shape[1], average="none").double()
    num_true, num_found = counts[:, 4], counts[:, 0]  # Columns: tp, fp, tn, fn, support.
    is_present = num_true > 0
    return float((num_found[is_present] / num_true[is_present]).mean())


@metric("nll", direction="min", bounds=(0.0, float("inf")), resampling=_log_losses)
def negative_log_likelihood(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Mean of −log of the probability given to the true class (cross-entropy), in nats.

    Computed from logits in float64 by torch: torchmetrics has it only as perplexity of text, which takes the
    logarithm *after* the softmax and is infinite where a probability underflows.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        Nats in [0, inf): 0 is perfect, log(c) is chance.

    Source: Gneiting & Raftery, "Strictly Proper Scoring Rules", JASA 2007 (logarithmic score).

    >>> import numpy as np
    >>> round(negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 2])), 6)
    1.386294
    """
    return max(0.0, float(_cross_entropy(logits, targets, "mean")))  # Rounding can give −0.0.


def classification_metrics(
    logits: NDArray[Any], targets: NDArray[Any], names: Iterable[str]
) -> dict[str, float]:
    """Name → value of each named metric on the same predictions.

    >>> import numpy as np
    >>> classification_metrics(np.array([[1.0, 0.0]]), np.array([0]), ["accuracy", "top5_accuracy"])
    {'accuracy': 1.0, 'top5_accuracy': 1.0}
    """
    return {name: _array_metric(name).compute(logits, targets) for name in names}


def _array_metric(name: str) -> ArrayMetric:
    entry = METRICS[name]
    if not isinstance(entry, ArrayMetric):
        raise TypeError(f"metric {name!r} is not a function of logits and targets.")
    return entry


def _cross_entropy(logits: NDArray[Any], targets: NDArray[Any], reduction: str) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    scores, labels = validated_tensors("nll", logits, targets)
    return cross_entropy(scores.double(), labels, reduction=reduction)


def _share_within(metric: str, logits: NDArray[Any], targets: NDArray[Any], k: int) -> float:
    """Share of examples whose true class has one of the first k places, divided in float64."""
    places = places_of_true_class(metric, logits, targets)
    return int((places < k).sum()) / len(places)
