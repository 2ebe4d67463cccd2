from raybench.evaluation.outcomes import EpochResult


def result_of(epoch, accuracy, nll):
    return EpochResult(epoch=epoch, metrics={"accuracy": accuracy, "nll": nll})


def test_any_epoch_is_better_than_none():
    assert result_of(1, 0.0, 9.0).is_better(None, "accuracy")


def test_the_objective_decides_in_its_own_direction():
    assert result_of(2, 0.9, 2.0).is_better(result_of(1, 0.8, 1.0), "accuracy")
    assert result_of(2, 0.7, 0.5).is_better(result_of(1, 0.8, 1.0), "nll")


def test_of_equally_accurate_epochs_the_lower_nll_is_better_and_the_earlier_stays():
    assert result_of(2, 0.9, 0.5).is_better(result_of(1, 0.9, 1.0), "accuracy")
    assert not result_of(2, 0.9, 1.0).is_better(result_of(1, 0.9, 1.0), "accuracy")
