import pickle

import pytest
import torch

from raybench.evaluation.finetune.checkpoint import (
    LAST,
    TrainingState,
    load_best,
    load_state,
    save_best,
    save_state,
)
from raybench.evaluation.outcomes import EpochResult

CPU = torch.device("cpu")


def state(epoch):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    results = [
        EpochResult(epoch=e, metrics={"accuracy": e / 7}, chosen={"epoch": e}) for e in range(1, epoch + 1)
    ]
    return TrainingState(
        weights=layer.state_dict(), optimizer=optimizer.state_dict(), scaler={}, results=results
    )


def test_what_is_saved_comes_back_to_the_last_bit(any_storage):
    saved = state(3)
    save_state(any_storage / "new", saved)
    found = load_state(any_storage / "new", CPU)
    assert found.results == saved.results
    assert all(torch.equal(found.weights[k], saved.weights[k]) for k in saved.weights)
    first = saved.optimizer["state"][0]["exp_avg"]
    assert torch.equal(found.optimizer["state"][0]["exp_avg"], first)


def test_without_a_checkpoint_there_is_nothing_to_resume(any_storage):
    assert load_state(any_storage, CPU) is None


def test_a_writer_killed_half_way_leaves_the_epoch_before(tmp_path, monkeypatch):
    save_state(tmp_path, state(1))

    def killed(content, stream):
        stream.write(b"half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, state(2))
    assert len(load_state(tmp_path, CPU).results) == 1


def test_the_best_weights_are_kept_apart_from_the_last(any_storage):
    save_best(any_storage, {"w": torch.ones(2)})
    save_state(any_storage, state(1))
    assert load_best(any_storage, CPU)["w"].tolist() == [1.0, 1.0]


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"weights": Harmful()}, tmp_path / LAST)
    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path, CPU)
