"""A protocol whose trials do nothing, to measure the overhead per trial."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from raybench.catalog.search_spaces import Float
from raybench.catalog.tasks import CLASSIFICATION_METRICS, PROTOCOLS, ProtocolInfo
from raybench.evaluation.outcomes import EpochResult, Predictions, SplitReport

VALUES: Mapping[str, float] = dict.fromkeys(CLASSIFICATION_METRICS, 0.5)


class NoopRun:
    """One epoch with a fixed result."""

    def __init__(self, context: Any) -> None:
        self._dataset = context.dataset

    def run_epochs(self) -> Iterator[EpochResult]:
        yield EpochResult(epoch=1, metrics=VALUES)

    def report(self, split: Any) -> SplitReport:
        examples = self._dataset.split(split)
        logits = np.zeros((len(examples), self._dataset.num_classes), dtype=np.float32)
        predictions = Predictions(ids=tuple(examples.ids), targets=examples.targets, logits=logits)
        return SplitReport(metrics=VALUES, num_examples=len(examples), predictions=predictions)


def noop(context: Any, hparams: Any, seed: int, max_epochs: int) -> NoopRun:
    return NoopRun(context)


def register() -> None:
    """Register the protocol in this process; Ray calls it in every worker."""
    if "noop" in PROTOCOLS:
        return
    PROTOCOLS.add(
        "noop",
        ProtocolInfo(
            name="noop",
            entry_point=f"{__name__}:noop",
            metrics=CLASSIFICATION_METRICS,
            objective="accuracy",
            space={"x": Float(low=0.0, high=1.0, default=0.5)},
            max_epochs=1,
            cpus=1,
            gpus=0,
            uses_features=False,
            doc="Does nothing.",
        ),
    )


def with_noop(runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    """Ray's `RAY_RUNTIME_ENV_HOOK`: let every worker register the protocol at its start."""
    return {**(runtime_env or {}), "worker_process_setup_hook": f"{__name__}.register"}
