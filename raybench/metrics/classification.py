"""Classification metrics, by torchmetrics, with the conventions that torchmetrics leaves to the caller.

All take logits, shape [n, c] (any real numbers, the larger the likelier), and true class ids in [0, c), shape
[n]; all raise what `validation.validated_tensors` raises. Of equal logits the lower class id is the answer;
which of them are among the five best is up to `torch.topk`.
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


def _correct(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    """1 where the highest logit is the true class."""
    return PerExampleMean((logits.argmax(axis=1) == targets).astype("float64"))


def _correct_in_top5(logits: NDArray[Any], targets: NDArray[Any]) -> PerExampleMean:
    """1 where `torch.topk`, which torchmetrics uses, finds the true class among five."""
    scores, labels = validated_tensors("top5_accuracy", logits, targets)
    best = scores.topk(min(TOP_K, scores.shape[1]), dim=1).indices
    return PerExampleMean((best == labels[:, None]).any(dim=1).double().numpy())


def _recalls(logits: NDArray[Any], targets: NDArray[Any]) -> RatioOfSums:
    """Per class the recognised examples over all examples."""
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

    Source: torchmetrics `multiclass_stat_scores`, micro average.

    >>> import numpy as np
    >>> accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]]), np.array([0, 1, 1, 0]))
    0.75
    """
    return _top_k_accuracy("accuracy", logits, targets, 1)


@metric("top5_accuracy", direction="max", bounds=(0.0, 1.0), resampling=_correct_in_top5)
def top5_accuracy(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """Share of images whose true class is among the five highest logits (all of them if c < 5).

    With five classes or fewer the value is always 1; it is computed all the same, so that tasks with few and
    many classes have the same table columns.

    Args:
        logits: shape [n, c].
        targets: true class ids in [0, c), shape [n].

    Returns:
        A fraction in [0, 1]: 1 is perfect, 5 / c is chance on balanced classes.

    Source: torchmetrics `multiclass_stat_scores`, micro average, top_k = min(5, c).

    >>> import numpy as np
    >>> top5_accuracy(np.array([[6.0, 5, 4, 3, 2, 1], [6.0, 5, 4, 3, 2, 1]]), np.array([4, 5]))
    0.5
    """
    return _top_k_accuracy("top5_accuracy", logits, targets, min(TOP_K, logits.shape[-1]))


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


def _top_k_accuracy(name: str, logits: NDArray[Any], targets: NDArray[Any], k: int) -> float:
    """Count by torchmetrics and divide in float64: its own quotient is float32 (0.9624999761581421)."""
    from torchmetrics.functional.classification import multiclass_stat_scores

    scores, labels = validated_tensors(name, logits, targets)
    counts = multiclass_stat_scores(scores, labels, num_classes=scores.shape[1], average="micro", top_k=k)
    return int(counts[0]) / len(labels)
