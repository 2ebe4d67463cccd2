"""Trials in a bucket: bit-identical to those in a folder, also when another node resumes them."""

import numpy as np
import pytest
from PIL import Image

from raybench.core.records import Pair, Task, TrialRequest
from raybench.evaluation.finetune.checkpoint import load_state
from raybench.spec import load_spec
from raybench.store import artifacts, ledger
from raybench.store.files import file_sizes, glob_sorted
from raybench.store.measurements import read_measurements
from raybench.store.predictions import predictions_of
from raybench.worker.trial import Trial

SPEC = """
name: small
backbones: [mini_resnet.random]
tasks: [knn@drawn, finetune@drawn]
datasets: {drawn: {folder: drawn}}
search: {num_trials: 1}
budget: smoke
evaluators: [calibration, {corruption: {corruptions: [gaussian_noise], severities: [1], num_examples: 4}}]
"""
EPOCHS = 2
HPARAMS = {"knn": {}, "finetune": {"lr": 1e-3, "weight_decay": 0.05}}


@pytest.fixture
def spec(tmp_path):
    """Two classes of noise in a folder: 8 images each to train on, 4 to test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("even", "odd"):
            folder = tmp_path / "drawn" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return load_spec(path)


def begin(spec, storage, protocol) -> Trial:
    pair = Pair(backbone="mini_resnet.random", task=Task(protocol, "drawn"))
    request = TrialRequest(
        experiment="small",
        pair=pair,
        stage="final",
        index=0,
        hparams=HPARAMS[protocol],
        seed=3,
        max_epochs=EPOCHS,
    )
    return Trial(request, spec, storage, device="cpu", num_threads=1)


def end(trial: Trial) -> None:
    while not trial.step().is_done:
        pass


def table_of(storage):
    return read_measurements(storage)


@pytest.mark.parametrize("protocol", ["knn", "finetune"])
def test_measurements_in_a_bucket_equal_those_in_a_folder(spec, bucket, tmp_path, protocol):
    for storage in (bucket, tmp_path / "folder"):
        end(begin(spec, storage, protocol))
    assert table_of(bucket).height > 2
    assert table_of(bucket).equals(table_of(tmp_path / "folder"))
    (record,) = ledger.read_records(bucket, "small")
    assert record.status == "completed", record.reason
    where = (bucket, "small", record.trial_id)
    assert predictions_of(*where)["test"][0] == tuple(
        predictions_of(tmp_path / "folder", *where[1:])["test"][0]
    )
    assert artifacts.read_classifier(*where) is not None
    kept = [name for name in file_sizes(bucket) if name.startswith("experiments/small/")]
    assert not [name for name in kept if "checkpoints/" in name or "evaluations/" in name]
    assert "mlflow.db" not in kept


def test_a_trial_whose_node_is_lost_resumes_from_its_checkpoint_on_another(
    spec, bucket, tmp_path, monkeypatch
):
    end(begin(spec, tmp_path / "folder", "finetune"))
    lost = begin(spec, bucket, "finetune")
    assert not lost.step().is_done
    assert len(glob_sorted(lost.checkpoint_dir, "*")) == 2, "the last epoch and the best one"
    del lost

    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "another-node"))
    restored = []
    monkeypatch.setattr(
        "raybench.evaluation.finetune.protocol.load_state",
        lambda *where: restored.append(load_state(*where)) or restored[-1],
    )
    end(begin(spec, bucket, "finetune"))
    assert [state is not None for state in restored] == [True]
    assert table_of(bucket).equals(table_of(tmp_path / "folder"))
