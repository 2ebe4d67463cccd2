"""Accuracy on shifted test sets, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from raybench.catalog.class_maps import CLASS_MAPS
from raybench.catalog.datasets import Shift
from raybench.catalog.evaluators.shift import ShiftSettings
from raybench.core.errors import DataError
from raybench.evaluation.fitted_classifier import SplitOutputs
from raybench.evaluation.outcomes import Predictions
from raybench.evaluation.shift import class_groups, grouped_answers, matched_accuracy, shift

CLASSES = ("cat", "dog", "owl")


def logits(*answers: int, num_classes: int = 3) -> np.ndarray:
    return 5 * np.eye(num_classes, dtype=np.float32)[list(answers)]


def fitted_on(shifted: dict[str, tuple[tuple[str, ...], SplitOutputs]], relations: dict[str, Shift]):
    """A classifier right on all three clean test images, and what it says about shifted sets."""
    clean = Predictions(ids=("0", "1", "2"), targets=np.array([0, 1, 2]), logits=logits(0, 1, 2))
    info = SimpleNamespace(shifts=relations)
    return SimpleNamespace(
        context=SimpleNamespace(dataset=SimpleNamespace(info=info)),
        class_names=CLASSES,
        predictions={"test": clean},
        load_dataset=lambda name: SimpleNamespace(class_names=shifted[name][0], name=name),
        outputs=lambda dataset, split: shifted[dataset.name][1],
    )


def outputs_of(targets: list[int], answers: list[int], ids: tuple[str, ...] = ()) -> SplitOutputs:
    return SplitOutputs(
        ids=ids or tuple(map(str, targets)),
        targets=np.array(targets),
        features=np.zeros((len(targets), 1), dtype=np.float32),
        logits=logits(*answers),
    )


def values(evaluation):
    return {(r.metric, str(r.condition)): (r.value, r.num_examples) for r in evaluation.results}


def test_accuracy_gap_and_mean_by_hand():
    found = shift(
        fitted_on(
            {
                "sketch": (CLASSES, outputs_of([0, 1, 2, 2], [0, 1, 0, 0])),
                "paint": (CLASSES, outputs_of([0, 1], [0, 1])),
            },
            {"sketch": Shift(), "paint": Shift()},
        ),
        ShiftSettings(),
    )
    assert values(found) == {
        ("accuracy", "shift(sketch)"): (0.5, 4),
        ("accuracy", "matched(sketch)"): (1.0, 3),
        ("accuracy_gap", "shift(sketch)"): (0.5, 4),
        ("accuracy", "shift(paint)"): (1.0, 2),
        ("accuracy", "matched(paint)"): (1.0, 3),
        ("accuracy_gap", "shift(paint)"): (0.0, 2),
        ("shift_accuracy", "shift(mean)"): (0.75, 6),
    }


def test_classes_that_the_shifted_set_lacks_are_no_answer():
    only_two = ("owl", "cat")
    answered_dog = SplitOutputs(
        ids=("a",),
        targets=np.array([0]),
        features=np.zeros((1, 1), dtype=np.float32),
        logits=np.array([[0.0, 9.0, 1.0]], dtype=np.float32),
    )
    found = values(shift(fitted_on({"few": (only_two, answered_dog)}, {"few": Shift()}), ShiftSettings()))
    assert found["accuracy", "shift(few)"] == (1.0, 1)
    assert found["accuracy", "matched(few)"] == (1.0, 2)  # The clean cat and owl.


def test_shape_bias_counts_images_that_one_cue_explains():
    relation = Shift(cue=r"-([a-z]+)\d*$")
    #          shape:     cat       cat       cat       dog; the last one's cues agree
    ids = ("cat1-dog2", "cat2-dog1", "cat3-owl", "dog1-dog4")
    found = values(
        shift(
            fitted_on({"cues": (CLASSES, outputs_of([0, 0, 0, 1], [0, 1, 1, 1], ids))}, {"cues": relation}),
            ShiftSettings(),
        )
    )
    assert found["shape_bias", "shift(cues)"] == (0.5, 2)  # One by shape, one by texture, one by neither.


def test_images_whose_cues_agree_count_in_no_metric():
    """As Geirhos et al. 2019 leave 80 of 1,280 images out."""
    relation = Shift(cue=r"-([a-z]+)\d*$")
    ids = ("cat1-dog2", "cat2-dog1", "cat3-owl", "dog1-dog4", "dog2-dog1", "owl1-owl2")
    outputs = outputs_of([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 2], ids)
    found = values(shift(fitted_on({"cues": (CLASSES, outputs)}, {"cues": relation}), ShiftSettings()))
    assert found["accuracy", "shift(cues)"] == (pytest.approx(1 / 3), 3)
    assert found["accuracy_gap", "shift(cues)"] == (pytest.approx(2 / 3), 3)
    assert found["shift_accuracy", "shift(mean)"] == (pytest.approx(1 / 3), 3)
    assert found["shape_bias", "shift(cues)"] == (0.5, 2)


def test_a_set_whose_cues_never_differ_is_refused():
    outputs = outputs_of([0, 1], [0, 1], ("cat1-cat2", "dog1-dog2"))
    with pytest.raises(DataError, match="in none of its 2 images the second cue differs"):
        shift(fitted_on({"cues": (CLASSES, outputs)}, {"cues": Shift(cue=r"-([a-z]+)\d*$")}), ShiftSettings())


def test_a_dataset_without_shifted_sets_gives_nothing():
    assert shift(fitted_on({}, {}), ShiftSettings()).results == ()


def test_numbers_as_class_names_are_class_ids():
    names = [f"n{i:03d}" for i in range(12)]
    assert class_groups(names, ["0", "11", "3"], Shift(), "v2") == [[0], [11], [3]]


@pytest.mark.parametrize("relation", [Shift(), Shift(class_map={"fox": ("wolf",)}), Shift(class_map={})])
def test_a_class_that_cannot_be_found_is_refused(relation):
    with pytest.raises(DataError, match="shifted set 'wild': class 'fox' is not among the 3 classes"):
        class_groups(CLASSES, ["fox"], relation, "wild")


def test_an_id_without_a_second_cue_is_refused():
    broken = fitted_on({"cues": (CLASSES, outputs_of([0], [0], ("cat",)))}, {"cues": Shift(cue="-([a-z]+)$")})
    with pytest.raises(DataError, match="finds no class of the set in the id 'cat'"):
        shift(broken, ShiftSettings())


def test_probabilities_of_a_group_are_averaged_not_summed():
    # 0.4 alone beats 0.35 + 0.25, whose mean is 0.3.
    found = grouped_answers(np.log(np.array([[0.4, 0.35, 0.25]])), [[0], [1, 2]])
    assert found.tolist() == [0]


def test_without_a_clean_image_of_the_classes_there_is_no_gap():
    clean = Predictions(ids=("0",), targets=np.array([2]), logits=logits(2))
    assert matched_accuracy(clean, [[0], [1]]) is None


def test_the_sixteen_categories_are_disjoint_and_have_their_published_sizes():
    groups = CLASS_MAPS["imagenet_16"]
    members = [member for ids in groups.values() for member in ids]
    assert len(groups) == 16
    assert len(members) == len(set(members))
    assert (len(groups["dog"]), len(groups["bird"]), max(members)) == (109, 49, 914)
