"""The evaluator `corruption` on a scripted classifier: what it counts, keeps and refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.datasets import find_dataset
from raybench.catalog.evaluators.corruption import ALEXNET_ERRORS, CorruptionSettings
from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.preprocessing import Preprocessing
from raybench.core.records import digest_of
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
        f"{name}(severity={severity},version=2)" for name in SETTINGS.corruptions for severity in (1, 5)
    }
    (error,) = values(found, "mean_corruption_error").values()
    assert error == pytest.approx(1 - np.mean(list(by_condition.values())))
    (relative,) = values(found, "relative_corruption_error").values()
    assert relative == pytest.approx(error)  # The clean error is 0.
    assert [row["accuracy"] for row in found.curves["corruption_accuracy"]] == list(by_condition.values())
    assert {f.num_examples for f in found.findings} == {20}


def test_less_contrast_alone_changes_no_answer_of_this_classifier(subject):
    assert values(corruption(subject, SETTINGS), "accuracy")["contrast(severity=5,version=2)"] == 1.0


def test_what_is_measured_is_not_measured_again_after_an_interruption(subject, monkeypatch):
    whole = corruption(subject, SETTINGS)
    for file in sorted(subject.checkpoint_dir.iterdir())[:2]:
        file.unlink()
    subject.calls.clear()
    assert corruption(subject, SETTINGS) == whole
    assert sum(subject.calls) == 20 * 2


def test_frost_is_measured_but_left_out_of_the_mean_errors(subject):
    settings = CorruptionSettings(corruptions=("frost", "contrast"), severities=(5,), num_examples=20)
    evaluation = corruption(subject, settings)
    by_corruption = values(evaluation, "corruption_accuracy")
    assert set(by_corruption) == {"frost(severities=5,version=2)", "contrast(severities=5,version=2)"}
    assert values(evaluation, "mean_corruption_error") == {
        "corruption(contrast,severities=5,version=2)": pytest.approx(
            1 - by_corruption["contrast(severities=5,version=2)"]
        )
    }


def test_frost_alone_has_no_mean_error(subject):
    settings = CorruptionSettings(corruptions=("frost",), severities=(5,), num_examples=20)
    assert {finding.metric for finding in corruption(subject, settings).findings} == {
        "accuracy",
        "corruption_accuracy",
    }


@pytest.mark.parametrize(
    ("num_classes", "severities", "has_mce"),
    [(1000, (1, 2, 3, 4, 5), True), (10, (1, 2, 3, 4, 5), False), (1000, (1, 3, 5), False)],
)
def test_mce_is_measured_in_the_authors_setting_only(subject, monkeypatch, num_classes, severities, has_mce):
    """A classifier with AlexNet's errors has mCE 1, one that is never wrong 0."""
    monkeypatch.setattr(subject.context.dataset, "class_names", tuple(map(str, range(num_classes))))
    settings = CorruptionSettings(severities=severities)
    for share in (1.0, 0.0):
        monkeypatch.setattr(
            module,
            "_kept_accuracy",
            lambda subject, positions, damage, severity, share=share: 1 - share * ALEXNET_ERRORS[damage.name],
        )
        measured = list(values(corruption(subject, settings), "alexnet_normalized_mce").values())
        assert measured == ([pytest.approx(share)] if has_mce else [])


def test_results_of_the_first_version_are_measured_again():
    """Digests of version 1 hold no version; finished experiments have stored them."""
    first = digest_of(["CorruptionSettings", CorruptionSettings().as_dict()])
    assert CorruptionSettings().digest != first
    assert SelectiveSettings().digest == digest_of(["SelectiveSettings", SelectiveSettings().as_dict()])


@pytest.mark.parametrize(
    "changes", [{"corruptions": ("fogg",)}, {"corruptions": ()}, {"severities": (0,)}, {"severities": ()}]
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="corruption"):
        CorruptionSettings(**changes)
