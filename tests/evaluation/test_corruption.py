"""The evaluator `corruption` on a scripted classifier: what it counts, stores and refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raybench.catalog.evaluators.corruption import ALEXNET_ERRORS, CorruptionSettings
from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.preprocessing import Preprocessing
from raybench.core.records import digest_of
from raybench.data.batches import batches
from raybench.evaluation import corruption as module
from raybench.evaluation.corruption import corruption
from raybench.evaluation.outcomes import Predictions
from tests.fitted import digits, fitted_as

SETTINGS = CorruptionSettings(corruptions=("contrast", "gaussian_noise"), severities=(1, 5), num_examples=20)


class UpperHalf(torch.nn.Module):
    """Class 0 if the upper half is brighter, else class 1; counts the images that it has classified."""

    backbone = SimpleNamespace(
        preprocessing=Preprocessing(
            input_size=32, crop_pct=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
        )
    )
    num_images = 0

    def forward(self, pixels):
        self.num_images += len(pixels)
        return torch.stack([half.mean(dim=(1, 2, 3)) for half in pixels.split(16, dim=2)], dim=1)

    def freeze(self):
        return self


@pytest.fixture
def fitted(tmp_path):
    """Correct on all clean images by construction."""
    dataset, classifier = digits(is_unlocked=True), UpperHalf()
    stream = batches(dataset.test, classifier.backbone.preprocessing, 64)
    logits = torch.cat([classifier(pixels) for pixels in stream]).numpy()
    classifier.num_images = 0
    predictions = Predictions(ids=tuple(dataset.test.ids), targets=logits.argmax(axis=1), logits=logits)
    return fitted_as(classifier, dataset, tmp_path, predictions={"test": predictions})


def values(evaluation, metric):
    return {str(r.condition): r.value for r in evaluation.results if r.metric == metric}


def test_one_forward_pass_per_corrupted_image_and_none_for_clean_ones(fitted):
    corruption(fitted, SETTINGS)
    assert fitted.classifier.num_images == 20 * 2 * 2


def test_errors_are_means_over_severities_then_corruptions(fitted):
    found = corruption(fitted, SETTINGS)
    by_condition = values(found, "accuracy")
    assert set(by_condition) == {
        f"{name}(severity={severity},version=2)" for name in SETTINGS.corruptions for severity in (1, 5)
    }
    (error,) = values(found, "mean_corruption_error").values()
    assert error == pytest.approx(1 - np.mean(list(by_condition.values())))
    (relative,) = values(found, "relative_corruption_error").values()
    assert relative == pytest.approx(error)  # The clean error is 0.
    assert [row["accuracy"] for row in found.curves["corruption_accuracy"]] == list(by_condition.values())
    assert {r.num_examples for r in found.results} == {20}


def test_less_contrast_alone_changes_no_answer_of_this_classifier(fitted):
    assert values(corruption(fitted, SETTINGS), "accuracy")["contrast(severity=5,version=2)"] == 1.0


def test_what_is_measured_is_not_measured_again_after_an_interruption(fitted, monkeypatch):
    whole = corruption(fitted, SETTINGS)
    for file in sorted(fitted.checkpoint_dir.iterdir())[:2]:
        file.unlink()
    fitted.classifier.num_images = 0
    assert corruption(fitted, SETTINGS) == whole
    assert fitted.classifier.num_images == 20 * 2


def test_frost_is_measured_but_left_out_of_the_mean_errors(fitted):
    settings = CorruptionSettings(corruptions=("frost", "contrast"), severities=(5,), num_examples=20)
    evaluation = corruption(fitted, settings)
    by_corruption = values(evaluation, "corruption_accuracy")
    assert set(by_corruption) == {"frost(severities=5,version=2)", "contrast(severities=5,version=2)"}
    assert values(evaluation, "mean_corruption_error") == {
        "corruption(contrast,severities=5,version=2)": pytest.approx(
            1 - by_corruption["contrast(severities=5,version=2)"]
        )
    }


def test_frost_alone_has_no_mean_error(fitted):
    settings = CorruptionSettings(corruptions=("frost",), severities=(5,), num_examples=20)
    assert {result.metric for result in corruption(fitted, settings).results} == {
        "accuracy",
        "corruption_accuracy",
    }


@pytest.mark.parametrize(
    ("num_classes", "severities", "has_mce"),
    [(1000, (1, 2, 3, 4, 5), True), (10, (1, 2, 3, 4, 5), False), (1000, (1, 3, 5), False)],
)
def test_mce_is_measured_in_the_authors_setting_only(fitted, monkeypatch, num_classes, severities, has_mce):
    """A classifier with AlexNet's errors has mCE 1, one that is never wrong 0."""
    monkeypatch.setattr(fitted.context.dataset, "class_names", tuple(map(str, range(num_classes))))
    settings = CorruptionSettings(severities=severities)
    for share in (1.0, 0.0):
        monkeypatch.setattr(
            module,
            "_stored_accuracy",
            lambda fitted, positions, corruption, severity, share=share: (
                1 - share * ALEXNET_ERRORS[corruption.name]
            ),
        )
        measured = list(values(corruption(fitted, settings), "alexnet_normalized_mce").values())
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
