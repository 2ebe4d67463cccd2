"""Fine-tuning runs: resumption, the best epoch, the lock of test."""

import numpy as np
import pytest
import torch

from raybench.core.errors import DivergedError, SplitLockedError
from raybench.evaluation.finetune.protocol import finetune
from raybench.evaluation.finetune.training import Training

EPOCHS = 3


@pytest.fixture
def run(hparams):
    """(context, num_epochs, changed hyperparameters) → (run, results of its epochs)."""

    def start(context, num_epochs=None, **changes):
        started = finetune(context, {**hparams, **changes}, 0, EPOCHS)
        results = []
        for result in started.run_epochs():
            results.append(result)
            if len(results) == num_epochs:
                break
        return started, results

    return start


def test_an_interrupted_run_ends_as_an_uninterrupted_one_to_the_last_bit(run, context_at):
    whole, results = run(context_at("whole"))
    run(context_at("torn"), num_epochs=1)
    resumed, again = run(context_at("torn"))
    assert again == results
    assert np.array_equal(resumed.predict("val").logits, whole.predict("val").logits)


def test_resumption_trains_only_what_is_missing(run, context_at, monkeypatch):
    run(context_at("torn"), num_epochs=2)
    trained = []
    monkeypatch.setattr(Training, "train_epoch", lambda self, epoch: trained.append(epoch))
    _, results = run(context_at("torn"))
    assert trained == [3]
    assert [result.epoch for result in results] == [1, 2, 3]


def test_a_finished_run_is_replayed_without_training(run, context_at, monkeypatch):
    first, results = run(context_at("done"))
    monkeypatch.setattr(Training, "train_epoch", lambda self, epoch: pytest.fail("trained again"))
    second, again = run(context_at("done"))
    assert again == results
    assert np.array_equal(second.predict("val").logits, first.predict("val").logits)


@pytest.fixture
def best_is_second(monkeypatch):
    """Set the head to zero after every epoch but the second, so that the others are at chance level."""
    train_epoch = Training.train_epoch

    def train_and_spoil(self, epoch):
        train_epoch(self, epoch)
        if epoch != 2:
            torch.nn.init.zeros_(self.model.head.weight)

    monkeypatch.setattr(Training, "train_epoch", train_and_spoil)


@pytest.mark.parametrize("num_before", [None, 2, 3], ids=["uninterrupted", "resumed", "replayed"])
def test_the_best_epoch_is_reported_not_the_last(run, context_at, best_is_second, num_before):
    if num_before is not None:
        run(context_at("run"), num_epochs=num_before, lr=1e-2)
    started, results = run(context_at("run", is_unlocked=True), lr=1e-2)
    accuracy = [result.metrics["accuracy"] for result in results]
    assert accuracy[1] > max(accuracy[0], accuracy[2])
    assert started.report("val").metrics == results[1].metrics
    assert float(started.state()["head.weight"].abs().max()) > 0
    assert float(started.classifier().head.weight.abs().max()) > 0
    assert float(np.ptp(started.predict("test").logits)) > 0


def test_training_learns_something(run, context_at):
    _, results = run(context_at("learns"), lr=1e-2, drop_path=0.0, batch_size=16)
    assert results[-1].metrics["accuracy"] > 0.25


def test_test_cannot_be_read_while_locked_and_can_in_the_final_stage(run, context_at):
    locked, _ = run(context_at("locked"), num_epochs=1)
    with pytest.raises(SplitLockedError, match="test split of 'digits' is locked"):
        locked.predict("test")
    unlocked, _ = run(context_at("unlocked", is_unlocked=True), num_epochs=1)
    assert unlocked.predict("test").logits.shape == (100, 10)


def test_a_chosen_epoch_ends_training_without_shortening_the_schedule(run, context_at):
    _, whole = run(context_at("whole"))
    _, stopped = run(context_at("stopped"), epoch=2)
    assert stopped == whole[:2]


def test_a_restored_run_gives_the_classifier_without_training(run, context_at, hparams):
    fitted, _ = run(context_at("fitted"), num_epochs=1)
    restored = finetune(context_at("empty"), hparams, 0, EPOCHS)
    with pytest.raises(RuntimeError, match="iterate run_epochs"):
        restored.classifier()
    restored.restore(fitted.state())
    assert np.array_equal(restored.predict("val").logits, fitted.predict("val").logits)


def test_logits_that_are_not_finite_end_the_trial(run, context_at, monkeypatch):
    spoil = lambda self, epoch: torch.nn.init.constant_(self.model.head.bias, torch.inf)  # noqa: E731
    monkeypatch.setattr(Training, "train_epoch", spoil)
    with pytest.raises(DivergedError, match="in epoch 1: logits on val are NaN or infinite"):
        run(context_at("diverged"))
