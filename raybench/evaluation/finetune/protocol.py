"""The protocol `finetune`: backbone and a new head trained end to end.

AdamW with layer-wise learning-rate decay, linear warm-up and cosine per step, label smoothing, gradient
clipping, random crops on the device, and the further parts of `Recipe`, each off by default; bfloat16 (or
float16) products on a GPU only. The state is written after every epoch, and an interrupted run resumes from
it: on a CPU with one thread to the same last bit as an uninterrupted run. GPU kernels sum in no fixed order,
so there only up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch

from raybench.core.errors import DivergedError
from raybench.core.records import Hparams
from raybench.evaluation.classifier import Classifier
from raybench.evaluation.classifier_run import ClassifierRun
from raybench.evaluation.contracts import ProtocolRun, TrialContext
from raybench.evaluation.finetune.checkpoint import load_best, load_state, save_best, save_state
from raybench.evaluation.finetune.recipe import Recipe
from raybench.evaluation.finetune.training import Training, new_classifier
from raybench.evaluation.outcomes import EpochResult, Predictions
from raybench.metrics import classification_metrics


def finetune(context: TrialContext, hparams: Hparams, seed: int, max_epochs: int) -> ProtocolRun:
    """Prepare a fine-tuning run.

    Hyperparameters: `lr`, `weight_decay`, `layer_decay`, `drop_path`, and optionally `epoch` and those of
    `catalog.finetuning.FINETUNE_OPTIONAL`; see `Recipe`.
    """
    return FinetuneRun(context, Recipe.from_hparams(hparams, max_epochs), seed)


class FinetuneRun(ClassifierRun):
    """One network trained with one recipe."""

    def __init__(self, context: TrialContext, recipe: Recipe, seed: int) -> None:
        super().__init__(context)
        self._recipe = recipe
        self._seed = seed
        self._best: EpochResult | None = None
        self._restored: dict[str, torch.Tensor] | None = None

    def run_epochs(self) -> Iterator[EpochResult]:
        """Yield the result of each epoch, first those that an interrupted attempt has completed."""
        folder, device = self._context.checkpoint_dir, self._context.device
        training = Training(self._context, self._recipe, self._seed)
        state = load_state(folder, device)
        results = [] if state is None else state.results
        if state is None:
            training.initialize_head()
        else:
            training.restore(state)
        for result in list(results):
            self._update_best(result)
            yield result
        for epoch in range(len(results) + 1, training.last_epoch + 1):
            training.train_epoch(epoch)
            result = self._measure(epoch, training.measured_model)
            if self._update_best(result):
                save_best(folder, training.measured_model.state_dict())
            results.append(result)
            save_state(folder, training.state(results))
            yield result

    def classifier(self) -> Classifier:
        """The weights that were best on val, in a network of their own, frozen."""
        weights = self.state()
        fitted = new_classifier(self._context, self._seed)
        fitted.load_state_dict(weights)
        return fitted.freeze()

    def state(self) -> Mapping[str, torch.Tensor]:
        """All weights and statistics of backbone and head that were best on val."""
        if self._restored is not None:
            return self._restored
        if self._best is None:
            raise RuntimeError("there are no weights yet; iterate run_epochs() or call restore() first.")
        return load_best(self._context.checkpoint_dir, self._context.device)

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Use `state` instead of the best weights of a training run."""
        self._restored = dict(state)

    def predict(self, split: Literal["val", "test"]) -> Predictions:
        """Logits of the weights that were best on val."""
        examples = self._context.dataset.split(split)  # Before anything else: test may be locked.
        logits = self._logits(self.classifier(), split)
        return Predictions(ids=tuple(examples.ids), targets=np.asarray(examples.targets), logits=logits)

    def _update_best(self, result: EpochResult) -> bool:
        """Remember `result` if it is the best so far, and say whether it is."""
        is_best = result.is_better(self._best, self._context.objective)
        if is_best:
            self._best = result
        return is_best

    def _measure(self, epoch: int, model: Classifier) -> EpochResult:
        targets = np.asarray(self._context.dataset.val.targets)
        logits = self._logits(model, "val")
        if not np.isfinite(logits).all():
            raise DivergedError(f"fine-tuning diverged in epoch {epoch}: logits on val are NaN or infinite.")
        metrics = classification_metrics(logits, targets, self.metrics)
        return EpochResult(epoch=epoch, metrics=metrics, chosen={"epoch": epoch})

    def _logits(self, model: Classifier, split: Literal["val", "test"]) -> np.ndarray:
        model.eval()
        _, logits = model.features_and_logits(
            self._context.dataset.split(split),
            self._recipe.images_per_pass,
            device=self._context.device,
            num_threads=self._context.num_threads,
        )
        return logits
