"""The evaluator `ood`: does the classifier notice images of no class it knows?"""

from typing import Literal

from raybench.catalog.evaluators.info import EvaluatorInfo, EvaluatorSettings

ScoreName = Literal["msp", "energy", "knn", "mahalanobis"]


class OodSettings(EvaluatorSettings):
    """Against which images, by which scores."""

    near: tuple[str, ...] = ()
    """Datasets whose images resemble the task's: other classes of the same kind. Their test is read."""
    far: tuple[str, ...] = ("digits", "shapes")
    """Datasets of another kind. The task's own dataset is left out, so one list serves many tasks."""
    scores: tuple[ScoreName, ...] = ("energy", "msp", "knn", "mahalanobis")
    """The first one gives the headline. `energy` is left out, with a warning, where logits are log
    probabilities (protocol `knn`): there it is 0 for every image."""

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
    settings=OodSettings,
    presets={"standard": OodSettings()},
    doc="Does the classifier notice images of no class it knows? Energy, softmax, kNN, Mahalanobis scores.",
)
