"""One real run on real weights and photographs, and its numbers beside recomputed ones.

The run is made by `raybench run`; the recomputation uses timm, torchvision, scikit-learn, torchmetrics,
pytrec_eval, imagecorruptions and torchattacks. Of raybench it uses what names the images of a split, the
measurement table, and the stored predictions.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from raybench.core.records import TrialRecord
from raybench.features.store import FeatureStore
from raybench.store import layout, ledger
from raybench.store.measurements import read_measurements
from tests.end_to_end.ray_nodes import environment
from tests.independent.reference import DATA, MOBILENET, VIT, spec_row
from tests.processes import DEADLINE_SECONDS

PHOTOS_PER_CLASS = {"train": 12, "val": 4}
"""Of Imagenette, whose val is our test: attacks and corruptions are slow."""
ATTACK = {
    "attacks": ["linf_pgd"],
    "linf_epsilons": ["0.25/255"],
    "steps": 10,
    "rel_stepsize": 0.25,
    "random_start": False,
    "apgd_steps": 10,
    "num_examples": None,
}
CORRUPTED = ("gaussian_noise", "glass_blur", "fog", "contrast", "jpeg_compression", "saturate")
SPECS = {
    "frozen": {
        "backbones": [MOBILENET, VIT],
        "tasks": ["knn@objects", "retrieval@objects"],
        "search": {"num_trials": 1},
        "evaluators": ["calibration"],
    },
    "probe": {
        "backbones": [MOBILENET, VIT],
        "tasks": ["linear_probe@objects"],
        # The packed grid of C stays to be chosen on val.
        "hparams": {"solver": "lbfgs", "feature_norm": "standardize", "batch_size": 256, "epochs": 10},
        "evaluators": ["calibration"],
    },
    "head": {
        "backbones": [MOBILENET],
        "tasks": ["pretrained_head@photos"],
        "evaluators": [
            "calibration",
            {"adversarial": ATTACK},
            {"corruption": {"corruptions": list(CORRUPTED), "severities": [1, 3, 5]}},
        ],
    },
}


@dataclass(frozen=True)
class Run:
    """The storage of the three experiments, and the folders of their datasets."""

    storage: Path
    folders: dict[str, Path]

    def value(self, backbone: str, task: str, metric: str, condition: str = "clean") -> float:
        """A measurement on test."""
        table = read_measurements(self.storage).filter(
            pl.col("backbone") == backbone, pl.col("task") == task, pl.col("metric") == metric
        )
        rows = table.filter(pl.col("split") == "test", pl.col("condition").str.starts_with(condition))
        return float(rows["value"].item())

    def final(self, backbone: str, task: str) -> TrialRecord:
        """The record of the pair's only final trial."""
        records = [r for name in SPECS for r in ledger.read_records(self.storage, name)]
        (record,) = (
            r
            for r in records
            if r.stage == "final" and (r.pair.backbone, str(r.pair.task)) == (backbone, task)
        )
        return record

    def logits(self, backbone: str, task: str, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(Ids, targets, logits) as stored."""
        record = self.final(backbone, task)
        path = layout.predictions_file(self.storage, record.experiment, record.trial_id)
        table = pl.read_parquet(path).filter(pl.col("split") == split)
        return table["example_id"].to_list(), table["target"].to_numpy(), np.stack(table["logits"].to_list())

    def features(self, backbone: str, dataset: str, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(Ids, targets, features) as stored."""
        store = FeatureStore(self.storage / "features")
        (entry,) = (
            e
            for e in store.entries()
            if (e.manifest["backbone"], e.manifest["dataset"], e.manifest["split"])
            == (backbone, dataset, split)
        )
        folder = store.root / entry.key
        ids = json.loads((folder / "ids.json").read_text())
        return ids, np.load(folder / "targets.npy"), np.load(folder / "features.npy")

    def paths(self, dataset: str, split: str, ids: list[str]) -> list[Path]:
        """Files of examples; their val is our test, and our val is part of their train."""
        return [self.folders[dataset] / ("val" if split == "test" else "train") / name for name in ids]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("independent")
    for split, count in PHOTOS_PER_CLASS.items():
        for classes in sorted((DATA / "datasets/imagenette" / split).iterdir()):
            (folder / "photos" / split / classes.name).mkdir(parents=True)
            for file in sorted(classes.iterdir())[:count]:
                (folder / "photos" / split / classes.name / file.name).symlink_to(file)
    folders = {"objects": DATA / "datasets/caltech101", "photos": folder / "photos"}
    datasets = {
        name: {"folder": str(path), "splits": {"train": "train", "test": "val"}}
        for name, path in folders.items()
    }
    storage = folder / "storage"
    for name, content in SPECS.items():
        used = {task.partition("@")[2] for task in content["tasks"]}
        spec = {
            "name": name,
            **content,
            "backbones": [spec_row(backbone) for backbone in content["backbones"]],
            "datasets": {key: row for key, row in datasets.items() if key in used},
            "budget": "smoke",
            "seeds": [0],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "raybench.cli", "run", folder / f"{name}.yaml", "--storage", storage]
        outcome = subprocess.run(
            [*map(str, command), "--num-cpus", "2"],
            capture_output=True,
            text=True,
            timeout=4 * DEADLINE_SECONDS,
            env=environment(),
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr + outcome.stdout
    return Run(storage, folders)


SideBySide = Callable[[str, float, float, float], None]
"""(Number, raybench's value, the recomputed value, tolerance): fails where they differ by more."""


@pytest.fixture(scope="session")
def side_by_side() -> Iterator[SideBySide]:
    """Compare two values; the whole table is printed at the end (`pytest -s`)."""
    rows: list[tuple[str, float, float, float]] = []

    def compare(number: str, ours: float, theirs: float, tolerance: float) -> None:
        rows.append((number, ours, theirs, tolerance))
        assert ours == pytest.approx(theirs, abs=tolerance), number

    yield compare
    print(f"\n{'number':58}  {'raybench':>10}  {'elsewhere':>10}  {'allowed':>8}")
    for number, ours, theirs, tolerance in rows:
        print(f"{number:58}  {ours:10.6f}  {theirs:10.6f}  {tolerance:8.1g}")
