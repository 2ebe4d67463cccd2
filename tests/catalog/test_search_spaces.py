"""Search spaces: defaults inside, edges recognised, epochs scaled; packed grids by protocol and solver."""

import math

import pytest

from raybench.catalog.search_spaces import (
    FINETUNE,
    KNN,
    KNN_GRIDS,
    LINEAR_PROBE,
    LINEAR_PROBE_GRIDS,
    Choice,
    Float,
    Int,
    defaults,
    fit_epochs,
    num_choices,
)
from raybench.catalog.space_edges import edges, extension, packed_edges
from raybench.catalog.tasks import PROTOCOLS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_defaults_lie_inside_their_space(protocol):
    space = PROTOCOLS[protocol].space
    for name, value in defaults(space).items():
        dimension = space[name]
        if isinstance(dimension, Choice):
            assert value in dimension.options
        else:
            assert dimension.low <= value <= dimension.high


def test_the_linear_probe_packs_52_heads_and_40_strengths():
    probe = PROTOCOLS["linear_probe"]
    for solver in ("sgd", "adamw"):
        assert math.prod(map(len, probe.packed_grid({"solver": solver}).values())) == 52
    assert len(probe.packed_grid({"solver": "lbfgs"})["inverse_l2"]) == 40


def test_without_a_solver_the_grid_is_that_of_the_default_one():
    assert PROTOCOLS["linear_probe"].packed_grid({}) == LINEAR_PROBE_GRIDS["adamw"]
    assert PROTOCOLS["knn"].packed_grid({}) == KNN_GRIDS[None]
    assert PROTOCOLS["finetune"].packed_grid({}) == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_packed_values_are_distinct_and_their_keys_exist(protocol):
    info = PROTOCOLS[protocol]
    keys = info.space.get(info.packed_by)
    options = keys.options if isinstance(keys, Choice) else ()
    assert set(info.packed) <= {None, *options, *info.on_request.get(info.packed_by, ())}
    for grid in info.packed.values():
        assert all(len(set(values)) == len(values) for values in grid.values())


def test_finetuning_defaults_are_the_papers():
    assert defaults(FINETUNE) == {"lr": 1e-3, "weight_decay": 0.05, "layer_decay": 0.75, "drop_path": 0.1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1e-5, {"lr": "low"}), (3e-3, {"lr": "high"}), (1e-3, {}), (2.97e-3, {"lr": "high"}), (2.5e-3, {})],
)
def test_an_edge_is_within_one_percent_in_the_dimensions_own_scale(value, expected):
    assert edges({"lr": FINETUNE["lr"]}, {"lr": value}) == expected


def test_a_choice_has_no_edge():
    assert edges(LINEAR_PROBE, {"solver": "sgd", "batch_size": 1024}) == {}


def test_a_single_valued_dimension_has_no_edge():
    assert edges(fit_epochs(LINEAR_PROBE, 1), {"epochs": 1}) == {}


@pytest.mark.parametrize("hparams", [{"drop_path": 0.0}, {"layer_decay": 1.0}])
def test_an_end_with_nothing_beyond_it_is_no_edge(hparams):
    assert edges(FINETUNE, hparams) == {}


def test_the_first_and_last_value_of_a_packed_dimension_are_edges():
    grid = LINEAR_PROBE_GRIDS["sgd"]
    lowest, highest = grid["lr"][0], grid["lr"][-1]
    assert packed_edges(grid, {"lr": lowest, "weight_decay": 1e-3}) == {"lr": "low", "weight_decay": "high"}
    assert packed_edges(grid, {"lr": highest, "weight_decay": 0.0}) == {"lr": "high"}
    assert packed_edges(grid, {"lr": grid["lr"][5], "weight_decay": 1e-4}) == {}


def test_the_largest_number_of_neighbours_is_an_edge_but_one_neighbour_is_not():
    assert packed_edges(KNN_GRIDS[None], {"k": 1, "weighting": 0.07}) == {}
    assert packed_edges(KNN_GRIDS[None], {"k": 200, "weighting": "uniform"}) == {"k": "high"}


def test_an_extension_goes_a_decade_or_half_the_width_further():
    assert extension(FINETUNE["lr"], "low") == (1e-6, 3e-3)
    assert extension(Float(low=0.0, high=0.3, default=0.1), "high") == (0.0, pytest.approx(0.45))


def test_a_choice_cannot_be_extended():
    with pytest.raises(ValueError, match="options, not ends"):
        extension(Choice(options=("a",), default="a"), "low")


@pytest.mark.parametrize("max_epochs", [1, 2, 10, 30, 100, 300])
def test_epochs_are_scaled_to_end_at_the_budget(max_epochs):
    epochs = fit_epochs(LINEAR_PROBE, max_epochs)["epochs"]
    assert isinstance(epochs, Int)
    assert 1 <= epochs.low <= epochs.default == epochs.high == max_epochs


def test_a_space_without_epochs_is_unchanged():
    assert fit_epochs(FINETUNE, 3) == FINETUNE


def test_finite_spaces_are_counted():
    assert num_choices(KNN) == 3
    assert num_choices({"a": Choice(options=(1, 2), default=1), "b": Int(low=1, high=3, default=1)}) == 6
    assert num_choices(FINETUNE) is None
