"""Laws of changed spaces: every draw lies in them, whatever is changed."""

import math

from hypothesis import given
from hypothesis import strategies as st

from raybench.catalog.search_spaces import FINETUNE, LINEAR_PROBE, Float, Int, contains, defaults, union
from raybench.catalog.space_changes import DimensionChange, SpaceChange, changed_grid, changed_space
from raybench.catalog.space_edges import extended_values, next_values
from raybench.catalog.tasks import PROTOCOLS
from raybench.tuning.sampling import sequence

INFO = PROTOCOLS["finetune"]
RATES = st.floats(1e-6, 1.0, allow_nan=False)


def changed(**space: DimensionChange):
    return changed_space(FINETUNE, INFO, [SpaceChange(protocol="finetune", space=space)], 10)


@given(st.lists(RATES, min_size=2, max_size=2, unique=True), st.booleans(), st.integers(0, 1000))
def test_every_draw_lies_in_the_changed_range(ends, log, seed):
    low, high = sorted(ends)
    space = changed(
        lr=DimensionChange(low=low, high=high, log=log), flip=DimensionChange(values=[True, False])
    )
    assert contains(space, defaults(space))
    for hparams in sequence(space, "qmc", 8, seed):
        assert low * (1 - 1e-5) - 1e-6 <= hparams["lr"] <= high * (1 + 1e-5) + 1e-6
        assert hparams["flip"] in (True, False)


@given(st.lists(RATES, min_size=2, max_size=2, unique=True), st.integers(2, 40))
def test_a_spaced_range_is_ascending_and_keeps_its_ends(ends, num):
    low, high = sorted(ends)
    change = SpaceChange(protocol="linear_probe", space={"lr": DimensionChange(low=low, high=high, num=num)})
    values = changed_grid(PROTOCOLS["linear_probe"], [change])["lr"]
    assert list(values) == sorted(set(values))
    assert math.isclose(values[0], low, rel_tol=1e-3)
    assert math.isclose(values[-1], high, rel_tol=1e-3)


def test_what_to_try_next_is_accepted_and_wider():
    for name, end in (("lr", "high"), ("lr", "low"), ("drop_path", "high"), ("layer_decay", "low")):
        wider = changed(**{name: DimensionChange(**next_values(name, end, FINETUNE, {}, INFO.limits))})[name]
        assert getattr(wider, end) != getattr(FINETUNE[name], end)
    assert next_values("epochs", "high", LINEAR_PROBE, {}, PROTOCOLS["linear_probe"].limits) is None


def test_a_grid_is_extended_by_two_values_of_its_own_spacing():
    assert extended_values((0.0, 1e-5, 1e-4, 1e-3), "high")[-2:] == [0.01, 0.1]
    assert extended_values((1e-3, 1e-2, 1e-1), "low")[:2] == [1e-5, 1e-4]
    assert extended_values((50, 100, 200), "high") == [50, 100, 200, 400, 800]
    assert extended_values(("uniform", 0.2, 0.5), "high") == ["uniform", 0.2, 0.5, 1.25, 3.125]


def test_the_union_of_dimensions_holds_the_values_of_each():
    wide = union([Float(low=1, high=2, default=1), Float(low=4, high=5, log=True, default=4)])
    assert contains({"x": wide}, {"x": 1.0})
    assert contains({"x": wide}, {"x": 5.0})
    whole = union([Int(low=1, high=2, default=1), Int(low=7, high=9, default=7)])
    assert (whole.low, whole.high) == (1, 9)
