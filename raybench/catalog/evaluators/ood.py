"""The evaluator `ood`: detection of images that belong to none of the classes."""

from typing import ClassVar, Literal

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings

ScoreName = Literal["msp", "energy", "knn", "mahalanobis"]


class OodSettings(EvaluatorSettings):
    """Out-of-distribution datasets and scores.

    Version 2: the k of the kNN score depends on the sizes of the classes, and stands in the condition.
    """

    version: ClassVar[int] = 2

    near: tuple[str, ...] = ()
    """Datasets with similar images of other classes. Their test splits are read."""
    far: tuple[str, ...] = ("digits", "shapes")
    """Datasets with other kinds of images. The task's own dataset is skipped, so one list fits many tasks."""
    scores: tuple[ScoreName, ...] = ("energy", "msp", "knn", "mahalanobis")
    """The first one gives the headline. `energy` is skipped with a warning if logits are log probabilities
    (protocol `knn`), because it is then 0 for every image."""

    def __post_init__(self) -> None:
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ValueError(f"at least one score, and every score once, got {self.scores}")
        names = self.dataset_names
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"dataset {twice!r} is named twice; it is either near or far")

    @property
    def dataset_names(self) -> tuple[str, ...]:
        return (*self.near, *self.far)


INFO = EvaluatorInfo(
    name="ood",
    entry_point="raybench.evaluation.ood:ood",
    needs="features",
    metrics=("ood_auroc", "fpr95", "mean_ood_auroc"),
    headline="mean_ood_auroc",
    section="Out-of-distribution detection",
    settings=OodSettings,
    presets={"standard": OodSettings()},
    doc="Are images of unknown classes detected? Energy, softmax, kNN and Mahalanobis scores.",
)
