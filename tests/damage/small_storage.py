"""A storage as a real run leaves it, made trial by trial in this process, without Ray and MLflow."""

from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from raybench.core.errors import RaybenchError
from raybench.experiment import recipes
from raybench.experiment.reconcile import make_studies, read_intact_records, reopen, store_spec
from raybench.spec import ExperimentSpec, load_spec
from raybench.store import ledger
from raybench.store.inference_costs import InferenceCost, write_cost
from raybench.store.measurements import read_measurements
from raybench.tuning.importance import store_importances
from raybench.worker.trial import Trial

SPEC = """
name: small
backbones: [mini_resnet.supervised, mini_resnet.random]
tasks: [knn@drawn, retrieval@drawn]
datasets: {drawn: {folder: drawn}}
search: {sampler: qmc, num_trials: 2}
budget: smoke
seeds: [0, 1]
evaluators: [calibration]
"""


def write_spec(folder: Path) -> ExperimentSpec:
    """An experiment on 48 drawn images of 3 classes, which are written too."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 12)):
        for shade, name in ((100, "dark"), (110, "grey"), (120, "light")):
            images = folder / "drawn" / split / name
            images.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 256, (32, 32, 3)) // 2 + shade
                Image.fromarray(noise.astype(np.uint8)).save(images / f"{i}.png")
    (folder / "small.yaml").write_text(SPEC)
    return load_spec(folder / "small.yaml")


def run_in_process(spec: ExperimentSpec, storage: Path) -> list[str]:
    """Run what the storage lacks, as `raybench run` does; returns the sentences that it would print."""
    notes: list[str] = []
    store_spec(spec, storage)
    studies = make_studies(spec, read_intact_records(storage, spec.name, notes.append))
    for study in studies:
        while (request := study.next_request()) is not None:
            reopen(storage, request)
            trial = Trial(request, spec, storage, device="cpu", num_threads=1)
            while not trial.step().is_done:
                pass
            notes += trial.notes
            record = ledger.read_record(storage, spec.name, request.trial_id)
            assert record is not None
            if record.status == "failed":
                raise RaybenchError(record.reason)
            study.complete(request, record)
    store_importances(storage, spec, [record for study in studies for record in study.search_records])
    recipes.write_all(storage, spec, {study.pair: study.winner for study in studies})
    return notes


def write_costs(storage: Path) -> None:
    """A made-up inference cost of each backbone."""
    for name, throughput in (("mini_resnet.supervised", 90.0), ("mini_resnet.random", 100.0)):
        cost = InferenceCost(
            backbone=name,
            checkpoint_digest=name,
            hardware="cpu",
            input_size=32,
            batch_size=8,
            dtype="float32",
            num_params=10,
            flops_g=0.5,
            images_per_second=throughput,
            images_per_second_low=80.0,
            images_per_second_high=110.0,
            latency_ms=3.0,
            peak_memory_mib=5.0,
            num_batches=3,
            versions={},
        )
        write_cost(storage, cost)


def table(storage: Path) -> pl.DataFrame:
    return read_measurements(storage)
