"""The evaluator `corruption` on a scripted classifier: what it counts, keeps and refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.datasets import find_dataset
from raybench.catalog.evaluators.corruption import CorruptionSettings
from raybench.core.preprocessing import Preprocessing
from raybench.data.loading import load_dataset
from raybench.evaluation import corruption as module
from raybench.evaluation.corruption import corruption
from raybench.evaluation.outcomes import Predictions

SETTINGS = CorruptionSettings(corruptions=("contrast", "gaussian_noise"), severities=(1, 5), num_examples=20)


@pytest.fixture
def subject(tmp_path):
    """Class = whether the upper half is brighter; right on clean images by construction."""
    dataset = load_dataset(find_dataset("digits_10shot")).unlocked()
    calls = []

    def classify(pixels):
        calls.append(len(pixels))
        top, bottom = pixels[:, :, :16].mean(dim=(1, 2, 3)), pixels[:, :, 16:].mean(dim=(1, 2, 3))
        return torch.stack([top, bottom], dim=1)

    test = dataset.test
    preprocessing = Preprocessing(
        input_size=32, crop_pct=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    context = SimpleNamespace(dataset=dataset, device=torch.device("cpu"), num_threads=1)
    stream = module.batches(test, preprocessing, 64)
    logits = torch.cat([classify(pixels) for pixels in stream]).numpy()
    calls.clear()
    predictions = Predictions(ids=tuple(test.ids), targets=logits.argmax(axis=1), logits=logits)
    return SimpleNamespace(
        context=context,
        classifier=classify,
        preprocessing=preprocessing,
        predictions={"test": predictions},
        batch_size=8,
        checkpoint_dir=tmp_path / "partial",
        calls=calls,
    )


def values(evaluation, metric):
    return {str(f.condition): f.value for f in evaluation.findings if f.metric == metric}


def test_one_forward_pass_per_damaged_image_and_none_for_clean_ones(subject):
    corruption(subject, SETTINGS)
    assert sum(subject.calls) == 20 * 2 * 2


def test_errors_are_means_over_severities_then_corruptions(subject):
    found = corruption(subject, SETTINGS)
    by_condition = values(found, "accuracy")
    assert set(by_condition) == {
        f"{name}(severity={severity})" for name in SETTINGS.corruptions for severity in (1, 5)
    }
    (error,) = values(found, "mean_corruption_error").values()
    assert error == pytest.approx(1 - np.mean(list(by_condition.values())))
    (relative,) = values(found, "relative_corruption_error").values()
    assert relative == pytest.approx(error)  # The clean error is 0.
    assert [row["accuracy"] for row in found.curves["corruption_accuracy"]] == list(by_condition.values())
    assert {f.num_examples for f in found.findings} == {20}


def test_less_contrast_alone_changes_no_answer_of_this_classifier(subject):
    assert values(corruption(subject, SETTINGS), "accuracy")["contrast(severity=5)"] == 1.0


def test_what_is_measured_is_not_measured_again_after_an_interruption(subject, monkeypatch):
    whole = corruption(subject, SETTINGS)
    for file in sorted(subject.checkpoint_dir.iterdir())[:2]:
        file.unlink()
    subject.calls.clear()
    assert corruption(subject, SETTINGS) == whole
    assert sum(subject.calls) == 20 * 2


@pytest.mark.parametrize(
    "changes", [{"corruptions": ("fogg",)}, {"corruptions": ()}, {"severities": (0,)}, {"severities": ()}]
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="corruption"):
        CorruptionSettings(**changes)
