"""Hyperparameter choices: deterministic, distinct, prefix-stable, within bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.catalog.search_spaces import FINETUNE, KNN, LINEAR_PROBE, Choice, Float, Int
from raybench.tuning.sampling import from_unit, sequence

FIRST = {name: dimension.default for name, dimension in FINETUNE.items()}
SPACES = {"linear_probe": LINEAR_PROBE, "knn": KNN, "finetune": FINETUNE}


def test_the_middle_of_a_log_range_is_its_geometric_mean():
    assert from_unit(Float(low=1e-4, high=1e-2, log=True, default=1e-3), 0.5) == 1e-3


@given(st.floats(0, 1, exclude_max=True))
def test_every_point_lies_within_the_dimension(u):
    assert 1e-5 <= float(from_unit(Float(low=1e-5, high=1e-1, log=True, default=1e-3), u)) <= 1e-1
    assert 3 <= int(from_unit(Int(low=3, high=17, default=3), u)) <= 17
    assert 3 <= int(from_unit(Int(low=3, high=900, log=True, default=3), u)) <= 900
    assert from_unit(Choice(options=("a", "b", "c"), default="a"), u) in ("a", "b", "c")


@pytest.mark.parametrize("sampler", ["qmc", "random"])
@pytest.mark.parametrize("name", SPACES)
def test_the_first_choice_is_the_defaults_and_none_repeats(name, sampler):
    choices = sequence(SPACES[name], sampler, 16, seed=3)
    assert choices[0] == {key: dimension.default for key, dimension in SPACES[name].items()}
    assert len({tuple(sorted(choice.items())) for choice in choices}) == len(choices)


@settings(max_examples=20)
@given(st.sampled_from(["qmc", "random"]), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_a_longer_sequence_begins_with_the_shorter(sampler, n, more, seed):
    short = sequence(FINETUNE, sampler, n, seed)
    assert sequence(FINETUNE, sampler, n + more, seed)[: len(short)] == short


def test_a_finite_space_gives_each_choice_once():
    choices = sequence(KNN, "qmc", 50, seed=0)
    assert len(choices) == len(KNN["feature_norm"].options)


def test_sobol_points_cover_a_range_more_evenly_than_random_ones():
    space = {"lr": Float(low=0.0, high=1.0, default=0.5)}
    values = sorted(float(choice["lr"]) for choice in sequence(space, "qmc", 17, seed=1)[1:])
    # 16 Sobol points: exactly one in every sixteenth.
    assert [int(value * 16) for value in values] == list(range(16))


def test_choices_of_a_warm_start_follow_the_defaults_and_the_points_follow_them():
    first = [{"feature_norm": "none"}]
    assert sequence(KNN, "qmc", 3, 0, first=first)[:2] == [{"feature_norm": "l2"}, *first]
    plain, warm = (
        sequence(FINETUNE, "qmc", 4, 0),
        sequence(FINETUNE, "qmc", 5, 0, first=[{**FIRST, "lr": 2e-4}]),
    )
    assert warm == [plain[0], {**FIRST, "lr": 2e-4}, *plain[1:]]
