"""Every path of a storage.

STORAGE/
├── storage_id                                      random name, which tells two storages of one spec apart
├── experiments/EXPERIMENT/
│   ├── spec.json                                   the checked spec
│   ├── running.lock                                held by the driver that runs the experiment
│   ├── identities/KIND-DIGEST.json                 digests of backbones and datasets at the start
│   ├── trials/TRIAL_ID.json                        ledger: one record per trial
│   ├── checkpoints/TRIAL_ID/                       training checkpoints; removed when the trial ends
│   ├── evaluations/TRIAL_ID.EVALUATOR/             partial results; removed when the evaluator has measured
│   ├── tracebacks/TRIAL_ID.txt                     of a trial that failed on an unexpected exception
│   ├── importance.json                             hyperparameter importance
│   ├── recipes/PAIR.yaml                           the winning hyperparameters as a spec
│   └── tracked.json                                which spec is complete in MLflow, and where
├── measurements/EXPERIMENT/TRIAL_ID.parquet        measurements of a final trial
├── measurements/EXPERIMENT/TRIAL_ID.EVALUATOR.parquet
├── predictions/EXPERIMENT/TRIAL_ID.parquet         per-example predictions of a final trial
├── classifiers/EXPERIMENT/TRIAL_ID.safetensors     weights of a final trial's classifier
├── curves/EXPERIMENT/TRIAL_ID.EVALUATOR.json       rows of an evaluator's figures
├── per_query/EXPERIMENT/TRIAL_ID.npz               retrieval metrics, one value per query
├── features/KEY/                                   an entry of the feature store (`features.store`)
├── features/KEY.partial/                           an entry that is being written
├── features/KEY.shards/                            rows of an entry, until it is complete (`features.shards`)
├── features/KEY.lock                               held by the process that writes it
├── image_hashes/pixel-hashes-DIGEST.json           hashes of the images of a dataset's split
├── image_hashes/pixel-hashes-DIGEST.lock           held by the process that computes them
├── costs/DIGEST.json                               inference cost per checkpoint and machine
├── mlflow.db                                       MLflow's database, unless a tracking server is used
└── mlartifacts/                                    MLflow's artifacts, likewise

STORAGE is a folder or `s3://bucket/prefix`. For a bucket, MLflow's files and copies of the features lie in
this machine's `files.local_folder`. In a folder, hidden files named `.*.partial` are being written.
`tests/store/test_layout.py` checks this map against a real run.
"""

import os
from pathlib import Path

from raybench.core.records import digest_of
from raybench.store.files import StoragePath


def storage_id_file(storage: StoragePath) -> StoragePath:
    return storage / "storage_id"


def experiments_dir(storage: StoragePath) -> StoragePath:
    return storage / "experiments"


def experiment_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return experiments_dir(storage) / experiment


def spec_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "spec.json"


def lock_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "running.lock"


def identity_file(storage: StoragePath, experiment: str, kind: str, name: str) -> StoragePath:
    """The pinned digest of a `backbone` or `dataset` of that name."""
    return experiment_dir(storage, experiment) / "identities" / f"{kind}-{digest_of(name)}.json"


def trials_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "trials"


def trial_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return trials_dir(storage, experiment) / f"{trial_id}.json"


def checkpoint_dir(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "checkpoints" / trial_id


def evaluator_dir(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "evaluations" / f"{trial_id}.{evaluator}"


def traceback_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "tracebacks" / f"{trial_id}.txt"


def importance_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "importance.json"


def recipes_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "recipes"


def recipe_file(storage: StoragePath, experiment: str, pair_slug: str) -> StoragePath:
    return recipes_dir(storage, experiment) / f"{pair_slug}.yaml"


def tracked_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "tracked.json"


def measurements_dir(storage: StoragePath) -> StoragePath:
    return storage / "measurements"


def measurements_file(
    storage: StoragePath, experiment: str, trial_id: str, evaluator: str = ""
) -> StoragePath:
    """The trial's own measurements, or those of one of its evaluators."""
    suffix = f".{evaluator}" if evaluator else ""
    return measurements_dir(storage) / experiment / f"{trial_id}{suffix}.parquet"


def predictions_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return storage / "predictions" / experiment / f"{trial_id}.parquet"


def classifier_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return storage / "classifiers" / experiment / f"{trial_id}.safetensors"


def curves_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return storage / "curves" / experiment


def curves_file(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> StoragePath:
    return curves_dir(storage, experiment) / f"{trial_id}.{evaluator}.json"


def per_query_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return storage / "per_query" / experiment / f"{trial_id}.npz"


def features_dir(storage: StoragePath) -> StoragePath:
    return storage / "features"


def image_hashes_dir(storage: StoragePath) -> StoragePath:
    return storage / "image_hashes"


def costs_dir(storage: StoragePath) -> StoragePath:
    return storage / "costs"


def mlflow_database(folder: Path) -> Path:
    return folder / "mlflow.db"


def mlflow_artifacts_dir(folder: Path) -> Path:
    return folder / "mlartifacts"


def write_probe_file(storage: StoragePath) -> StoragePath:
    """Written and removed at once, to find out whether the storage can be written."""
    return storage / f".writable-{os.getpid()}"
