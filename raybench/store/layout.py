"""Every path of a storage, in one place.

STORAGE/
├── experiments/EXPERIMENT/
│   ├── spec.json                             the checked spec
│   ├── trials/TRIAL_ID.json                  ledger: one record per trial
│   ├── checkpoints/TRIAL_ID/                 training checkpoints; removed when the trial ends
│   ├── evaluations/TRIAL_ID.EVALUATOR/       an evaluator's partial results; removed when it has measured
│   ├── identities/KIND-DIGEST.json           digests of backbones and datasets at the start
│   ├── importance.json                       hyperparameter importance per pair
│   ├── recipes/PAIR.yaml                     the winning hyperparameters as a spec
│   ├── tracked.json                          which MLflow server holds everything
│   └── running.lock                          held by the driver that runs the experiment
├── measurements/EXPERIMENT/TRIAL_ID.parquet  measurements of a final trial
├── measurements/EXPERIMENT/TRIAL_ID.EVALUATOR.parquet
├── predictions/EXPERIMENT/TRIAL_ID.parquet   per-example predictions of a final trial
├── classifiers/EXPERIMENT/TRIAL_ID.safetensors
├── curves/EXPERIMENT/TRIAL_ID.EVALUATOR.json rows of an evaluator's figures
├── per_query/EXPERIMENT/TRIAL_ID.npz         retrieval metrics, one value per query
├── features/KEY/                             the feature store
├── image_hashes/DIGEST.json                  hashes of a dataset's images
├── costs/DIGEST.json                         inference cost per checkpoint and machine
└── mlflow.db, mlartifacts/                   MLflow, where no server is given and the storage is a folder

STORAGE is a folder or `s3://bucket/prefix`; the layout is the same in both.
"""

import os

from raybench.core.records import Pair, digest_of
from raybench.store.files import StoragePath


def experiments_dir(storage: StoragePath) -> StoragePath:
    return storage / "experiments"


def experiment_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return experiments_dir(storage) / experiment


def spec_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "spec.json"


def trials_dir(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "trials"


def trial_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return trials_dir(storage, experiment) / f"{trial_id}.json"


def checkpoint_dir(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    """Training checkpoints of one trial. Not created here; removed when the trial ends."""
    return experiment_dir(storage, experiment) / "checkpoints" / trial_id


def evaluator_dir(storage: StoragePath, experiment: str, trial_id: str, evaluator: str) -> StoragePath:
    """Partial results of one evaluator. Not created here; removed when the evaluator has measured."""
    return experiment_dir(storage, experiment) / "evaluations" / f"{trial_id}.{evaluator}"


def identity_file(storage: StoragePath, experiment: str, kind: str, name: str) -> StoragePath:
    """The pinned digest of a `backbone` or `dataset` of that name."""
    return experiment_dir(storage, experiment) / "identities" / f"{kind}-{digest_of(name)}.json"


def finding_file(storage: StoragePath, experiment: str, name: str) -> StoragePath:
    """A result about the experiment as a whole, such as `importance`."""
    return experiment_dir(storage, experiment) / f"{name}.json"


def recipe_file(storage: StoragePath, experiment: str, pair: Pair) -> StoragePath:
    return recipe_file_of_slug(storage, experiment, pair.slug)


def recipe_file_of_slug(storage: StoragePath, experiment: str, slug: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "recipes" / f"{slug}.yaml"


def tracked_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "tracked.json"


def lock_file(storage: StoragePath, experiment: str) -> StoragePath:
    return experiment_dir(storage, experiment) / "running.lock"


def measurements_dir(storage: StoragePath) -> StoragePath:
    return storage / "measurements"


def measurements_file(
    storage: StoragePath, experiment: str, trial_id: str, evaluator: str = ""
) -> StoragePath:
    """The trial's own measurements, or those of one of its evaluators."""
    suffix = f".{evaluator}" if evaluator else ""
    return measurements_dir(storage) / experiment / f"{trial_id}{suffix}.parquet"


def predictions_dir(storage: StoragePath) -> StoragePath:
    return storage / "predictions"


def predictions_file(storage: StoragePath, experiment: str, trial_id: str) -> StoragePath:
    return predictions_dir(storage) / experiment / f"{trial_id}.parquet"


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


def write_probe_file(storage: StoragePath) -> StoragePath:
    """Written and removed at once, to find out whether the storage can be written."""
    return storage / f".writable-{os.getpid()}"
