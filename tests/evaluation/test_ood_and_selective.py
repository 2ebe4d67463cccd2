"""The evaluators `ood` and `selective` on drawn features and logits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_softmax

from raybench.catalog.dataset_sources import FolderSource
from raybench.catalog.evaluators.ood import OodSettings
from raybench.catalog.evaluators.selective import SelectiveSettings
from raybench.core.errors import DataError
from raybench.evaluation.fitted_classifier import SplitOutputs
from raybench.evaluation.ood import ood
from raybench.evaluation.outcomes import Predictions
from raybench.evaluation.selective import selective

PROTOTYPES = 4 * np.eye(3, 8)


def drawn_outputs(num, centre, seed):
    rng = np.random.default_rng(seed)
    targets = np.arange(num) % 3
    features = centre[targets] + rng.normal(size=(num, 8))
    return SplitOutputs(
        ids=tuple(map(str, range(num))),
        targets=targets,
        features=features.astype(np.float32),
        logits=(features @ PROTOTYPES.T).astype(np.float32),
    )


SPLITS = {
    ("own", "train"): drawn_outputs(300, PROTOTYPES, 0),
    ("own", "test"): drawn_outputs(60, PROTOTYPES, 1),
    ("strange", "test"): drawn_outputs(60, np.roll(PROTOTYPES, 4, axis=1), 2),
    ("same", "test"): drawn_outputs(60, PROTOTYPES, 3),
}


@pytest.fixture
def fitted():
    def dataset(name, source=None):
        return SimpleNamespace(info=SimpleNamespace(name=name, source=FolderSource(source or name)))

    return SimpleNamespace(
        context=SimpleNamespace(dataset=dataset("own")),
        load_dataset=lambda name: dataset(name, "own" if name == "own_few" else None),
        outputs=lambda data, split: SPLITS[data.info.name, split],
    )


def test_strange_images_are_noticed_and_more_of_the_same_are_not(fitted):
    found = ood(fitted, OodSettings(near=("same",), far=("strange",)))
    values = {str(r.condition): r.value for r in found.results if r.metric == "ood_auroc"}
    for score in ("energy", "msp", "knn,k=1", "mahalanobis"):
        assert values[f"ood(far:strange,score={score})"] > 0.9
        assert values[f"ood(near:same,score={score})"] == pytest.approx(0.5, abs=0.2)


def test_the_headline_is_the_mean_of_the_first_score(fitted):
    found = ood(fitted, OodSettings(near=("same",), far=("strange",), scores=("knn", "msp")))
    (mean,) = (r for r in found.results if r.metric == "mean_ood_auroc")
    parts = [r.value for r in found.results if r.metric == "ood_auroc" and "score=knn" in str(r.condition)]
    assert mean.value == pytest.approx(np.mean(parts))
    assert str(mean.condition) == "ood(near:same+far:strange,score=knn,k=1)"
    assert mean.num_examples == 180


def test_the_tasks_own_images_are_no_strangers(fitted):
    found = ood(fitted, OodSettings(far=("own_few", "strange")))
    assert not any("own_few" in str(r.condition) for r in found.results)
    with pytest.raises(DataError, match="no dataset beside 'own'"):
        ood(fitted, OodSettings(far=("own_few",)))


def test_selective_reports_what_the_settings_ask_for():
    known = SPLITS["own", "test"]
    test = Predictions(ids=known.ids, targets=known.targets, logits=known.logits)
    found = selective(SimpleNamespace(predictions={"test": test}), SelectiveSettings(coverages=(0.5, 1.0)))
    values = {str(r.condition): r.value for r in found.results}
    assert set(values) == {"clean", "coverage(0.5)", "coverage(1)"}
    assert values["coverage(1)"] == pytest.approx(np.mean(known.logits.argmax(axis=1) == known.targets))
    assert values["coverage(0.5)"] >= values["coverage(1)"]
    curve = found.curves["risk_coverage"]
    assert curve[-1] == {"coverage": 1.0, "risk": pytest.approx(1 - values["coverage(1)"])}


def test_energy_is_left_out_where_logits_are_log_probabilities(fitted):
    def shares(data, split):
        found = SPLITS[data.info.name, split]
        return replace(found, logits=log_softmax(found.logits, axis=1))

    fitted.outputs = shares
    found = ood(fitted, OodSettings(far=("strange",)))
    assert not any("score=energy" in str(r.condition) for r in found.results)
    assert found.warnings
    (mean,) = (r for r in found.results if r.metric == "mean_ood_auroc")
    assert str(mean.condition) == "ood(far:strange,score=msp)"
    with pytest.raises(DataError, match="no score but 'energy'"):
        ood(fitted, OodSettings(far=("strange",), scores=("energy",)))
