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
    """The first one gives the headline."""

    @property
    def dataset_names(self) -> tuple[str, ...]:
        return (*self.near, *self.far)


INFO = EvaluatorInfo(
    name="ood",
    needs="features",
    metrics=("ood_auroc", "fpr95", "mean_ood_auroc"),
    headline="mean_ood_auroc",
    settings=OodSettings,
    presets={"standard": OodSettings()},
    doc="Does the classifier notice images of no class it knows? Energy, softmax, kNN, Mahalanobis scores.",
)
