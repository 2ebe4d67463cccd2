from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.datasets import find_dataset
from raybench.core.errors import DivergedError, SplitLockedError
from raybench.core.preprocessing import Preprocessing
from raybench.data.dataset import Dataset
from raybench.data.loading import load_dataset
from raybench.evaluation.contracts import TrialContext
from raybench.evaluation.finetune import Training, finetune, lr_factor, whole_square
from raybench.evaluation.precision import mixed_precision

EPOCHS = 3
HPARAMS = {"lr": 3e-3, "weight_decay": 0.05, "layer_decay": 0.9, "drop_path": 0.1}
BACKBONE = BackboneInfo(
    name="small",
    timm="resnet10t",
    kwargs={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_width": 8},
    weights="random",
    preprocessing={"input_size": 32},
)


@pytest.fixture(scope="module")
def digits():
    """200 digits to train on, 100 for val and test each."""
    whole = load_dataset(find_dataset("digits")).unlocked()
    sizes = {"train": 200, "val": 100, "test": 100}
    splits = {name: whole.split(name).take(np.arange(size)) for name, size in sizes.items()}
    return Dataset(whole.info, whole.class_names, splits, whole.hygiene)


@pytest.fixture
def context_at(digits, tmp_path):
    def make(folder, *, is_unlocked=False):
        return TrialContext(
            backbone_info=BACKBONE,
            dataset=digits.unlocked() if is_unlocked else digits,
            store=SimpleNamespace(),  # Fine-tuning never reads features.
            device=torch.device("cpu"),
            checkpoint_dir=tmp_path / folder,
        )

    return make


def run(context, hparams=HPARAMS, num_rungs=None):
    started = finetune(context, hparams, 0, EPOCHS)
    rungs = []
    for rung in started.run_epochs():
        rungs.append(rung)
        if len(rungs) == num_rungs:
            break
    return started, rungs


def test_an_interrupted_run_ends_as_an_uninterrupted_one_to_the_last_bit(context_at):
    whole, rungs = run(context_at("whole"))
    run(context_at("torn"), num_rungs=1)
    resumed, again = run(context_at("torn"))
    assert again == rungs
    assert np.array_equal(resumed.predict("val").logits, whole.predict("val").logits)


def test_resumption_trains_only_what_is_missing(context_at, monkeypatch):
    run(context_at("torn"), num_rungs=2)
    trained = []
    monkeypatch.setattr(Training, "train_epoch", lambda self, epoch: trained.append(epoch))
    _, rungs = run(context_at("torn"))
    assert trained == [3]
    assert [rung.epoch for rung in rungs] == [1, 2, 3]


def test_a_finished_run_is_replayed_without_training(context_at, monkeypatch):
    first, rungs = run(context_at("done"))
    monkeypatch.setattr(Training, "train_epoch", lambda self, epoch: pytest.fail("trained again"))
    second, again = run(context_at("done"))
    assert again == rungs
    assert np.array_equal(second.predict("val").logits, first.predict("val").logits)


def test_random_numbers_drawn_elsewhere_change_nothing(context_at):
    _, rungs = run(context_at("a"), num_rungs=1)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    _, again = run(context_at("b"), num_rungs=1)
    assert again == rungs
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_are_of_the_best_epoch(context_at):
    started, rungs = run(context_at("best"))
    best = None
    for rung in rungs:
        best = rung if rung.is_better(best, "accuracy") else best
    found = started.predict("val")
    assert float((found.logits.argmax(axis=1) == found.targets).mean()) == best.metrics["accuracy"]


def test_training_learns_something(context_at):
    _, rungs = run(context_at("learns"), hparams={**HPARAMS, "lr": 1e-2, "drop_path": 0.0, "batch_size": 16})
    assert rungs[-1].metrics["accuracy"] > 0.25


def test_test_cannot_be_read_while_locked_and_can_in_the_final_stage(context_at):
    locked, _ = run(context_at("locked"), num_rungs=1)
    with pytest.raises(SplitLockedError, match="test split of 'digits' is locked"):
        locked.predict("test")
    opened, _ = run(context_at("opened", is_unlocked=True), num_rungs=1)
    assert opened.predict("test").logits.shape == (100, 10)


def test_a_chosen_epoch_ends_training_without_shortening_the_schedule(context_at):
    _, whole = run(context_at("whole"))
    _, stopped = run(context_at("stopped"), hparams={**HPARAMS, "epoch": 2})
    assert stopped == whole[:2]


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_rate(context_at, monkeypatch):
    monkeypatch.setattr(Training, "_step", lambda self, pixels, targets: float("nan"))
    with pytest.raises(DivergedError, match=r"the loss is nan in step 1 of epoch 1 with lr = 0.003"):
        run(context_at("diverged"))


def test_a_last_batch_of_one_does_not_stop_batch_norm(context_at):
    _, rungs = run(context_at("odd"), hparams={**HPARAMS, "batch_size": 199}, num_rungs=1)
    assert rungs[0].epoch == 1


def test_the_rate_warms_up_then_falls_to_zero():
    rates = [lr_factor(p) for p in np.linspace(0.001, 0.999, 101)]
    peak = int(np.argmax(rates))
    assert 8 <= peak <= 12
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


def test_random_crops_are_taken_from_the_whole_square():
    preprocessing = Preprocessing(
        input_size=224, crop_pct=0.875, interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3
    )
    assert (whole_square(preprocessing).input_size, whole_square(preprocessing).crop_pct) == (256, 1.0)


def test_products_on_the_cpu_are_float32():
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
