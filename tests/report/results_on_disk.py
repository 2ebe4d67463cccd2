"""A storage as `raybench run` leaves one, with made-up measurements, predictions, ledger and curves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raybench.core.records import Measurement, Pair, Task, TrialRecord, metric_values
from raybench.store import artifacts, ledger
from raybench.store.measurements import write_measurements
from raybench.store.predictions import write_predictions

TASKS = ("knn@digits", "linear_probe@digits", "retrieval@shapes")
SKILLS = {"good": 0.9, "fair": 0.6, "poor": 0.3}
PROVENANCE = {
    "num_params": 5_000_000,
    "device": "cpu",
    "versions": {"torch": "2.0"},
    "checkpoint_digest": "c",
}
PARAMS = {"good": 9_000_000, "fair": 5_000_000, "poor": 7_000_000}


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of one split."""

    ids: tuple[str, ...]
    targets: np.ndarray
    logits: np.ndarray


def fill(
    storage: Path,
    *,
    tasks: tuple[str, ...] = TASKS,
    seeds: tuple[int, ...] = (0, 1),
    num_examples: int = 50,
    keeps_examples: bool = True,
    leave_out: tuple[str, str | None] | None = None,
    backbones: tuple[str, ...] = tuple(SKILLS),
    experiment: str = "e",
) -> Path:
    """Measure SKILLS on `tasks`; `leave_out` is a (backbone, task) without score, task None means all."""
    rng = np.random.default_rng(0)
    families = {"good": "cnn", "fair": "cnn", "poor": "transformer"}
    spec = {
        "name": experiment,
        "backbones": [
            {"name": name, "family": families[name], "method": "supervised", "pretrain_images": 1000}
            for name in backbones
        ],
        "tasks": list(tasks),
    }
    ledger.save_spec(storage, experiment, spec)
    for backbone in backbones:
        skill = SKILLS[backbone]
        for task in tasks:
            if leave_out in ((backbone, task), (backbone, None)):
                continue
            _search(storage, experiment, backbone, task, skill)
            for seed in seeds:
                is_right = rng.random(num_examples) < skill
                _final(
                    storage,
                    experiment,
                    Pair(backbone=backbone, task=Task.parse(task)),
                    seed,
                    is_right,
                    keeps_examples,
                )
    return storage


def _search(storage: Path, experiment: str, backbone: str, task: str, skill: float) -> None:
    metric = "map" if task.startswith("retrieval") else "accuracy"
    for index in range(3):
        record = TrialRecord(
            trial_id=f"{backbone}-{task}-search-{index}",
            experiment=experiment,
            pair=Pair(backbone=backbone, task=Task.parse(task)),
            stage="search",
            index=index,
            hparams={"k": index},
            seed=0,
            status="completed",
            values=metric_values({f"val/{metric}": skill + 0.02 * index}),
        )
        ledger.write_record(storage, record)


def _final(
    storage: Path, experiment: str, pair: Pair, seed: int, is_right: np.ndarray, keeps_examples: bool
) -> None:
    trial_id = f"{pair.backbone}-{pair.task}-final-{seed}"
    is_retrieval = pair.task.protocol == "retrieval"
    measured = Measurement(
        experiment=experiment,
        backbone=pair.backbone,
        task=pair.task,
        split="test",
        metric="map" if is_retrieval else "accuracy",
        value=float(is_right.mean()),
        num_examples=len(is_right),
        seed=seed,
    )
    origin = PROVENANCE | {"num_params": PARAMS[pair.backbone]}
    write_measurements(storage, experiment, trial_id, [measured], origin)
    record = TrialRecord(
        trial_id=trial_id,
        experiment=experiment,
        pair=pair,
        stage="final",
        index=0,
        hparams={},
        seed=seed,
        status="completed",
        evaluations={"calibration": "x"},
    )
    ledger.write_record(storage, record)
    points = [
        {"condition": "clean", "confidence": c, "accuracy": c, "bin": c, "count": 1} for c in (0.4, 0.8)
    ]
    artifacts.write_curves(
        storage, experiment, trial_id, "calibration", {"reliability": points}, ("few <b>",)
    )
    if not keeps_examples:
        return
    if is_retrieval:
        per_query = np.append(is_right.astype(float), np.nan)  # The last query has no positive.
        artifacts.write_per_query(storage, experiment, trial_id, {"test": {"map": per_query}})
        return
    order = np.random.default_rng(seed).permutation(len(is_right))  # Files need not be in one order.
    predictions = SplitPredictions(
        ids=tuple(f"image-{i:03d}" for i in order),
        targets=np.zeros(len(is_right), dtype=int),
        logits=np.stack([is_right[order], ~is_right[order]], axis=1).astype("float32"),
    )
    write_predictions(storage, experiment, trial_id, {"test": predictions}, pair=pair, seed=seed)


def tables_of(html: str) -> dict[str, str]:
    """File name → CSV text, of every download link of a page."""
    import base64
    import re

    links = re.findall(r'<a download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]*)"', html)
    return {name: base64.b64decode(content).decode() for name, content in links}
