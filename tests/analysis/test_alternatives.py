"""Rankings without z-scores: against scipy, scikit-posthocs, Demšar's tables, a logistic fit, and by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raybench.analysis import alternatives
from raybench.core.errors import EmptyInputError, MissingMeasurementError


def frame(values: np.ndarray, direction: str = "max") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"backbone": f"b{i}", "task": f"t{j}", "value": float(value), "direction": direction}
            for (i, j), value in np.ndenumerate(values)
        ]
    )


def drawn(seed: int, backbones: int = 6, tasks: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((backbones, tasks)) + 0.1 * np.arange(backbones)[:, None]).round(1)


def test_worked_by_hand():
    # b0 beats b1 twice and ties once (2.5 of 3), beats b2 always (3 of 3): 5.5 of 6.
    found = alternatives.alternative_rankings(frame(np.array([[3, 3, 2], [2, 2, 2], [1, 1, 1]]))).sort(
        "backbone"
    )
    assert found["win_rate"].to_list() == pytest.approx([5.5 / 6, 3.5 / 6, 0])
    assert found["mean_rank"].to_list() == pytest.approx([(1 + 1 + 1.5) / 3, (2 + 2 + 1.5) / 3, 3])
    assert found["rank_bradley_terry"].to_list() == [1, 2, 3]


def test_two_backbones_have_the_closed_form_strength():
    # 3 of 4 won, half a win added each way: odds 3.5 / 1.5.
    strength = alternatives.bradley_terry(np.array([[1.0, 1, 1, 0], [0, 0, 0, 1]]))
    assert strength[0] - strength[1] == pytest.approx(400 * np.log10(3.5 / 1.5))
    assert strength.sum() == pytest.approx(0)


def test_strengths_are_those_of_a_logistic_fit():
    from scipy.optimize import minimize

    values = drawn(4)
    won = alternatives.wins(values) + 0.5 * (1 - np.eye(6))

    def loss(theta):
        return (won * np.logaddexp(0, theta[None, :] - theta[:, None])).sum()

    theta = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    expected = (theta - theta.mean()) * 400 / np.log(10)
    assert alternatives.bradley_terry(values) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_friedman_agrees_with_scipy(seed):
    values = drawn(seed)
    found = alternatives.friedman(frame(values)).row(0, named=True)
    assert found["p_value"] == pytest.approx(stats.friedmanchisquare(*values).pvalue)


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_the_critical_difference_is_of_demsars_table(k, q):
    # Table 5(a) of Demšar, JMLR 2006, level 0.05.
    assert alternatives.critical_difference(k, 6) == pytest.approx(q * (k * (k + 1) / 36) ** 0.5, abs=2e-3)


def test_the_critical_difference_is_where_scikit_posthocs_begins_to_tell_backbones_apart():
    # Ranks of b0 and b1 differ by 1 or by 0 tasks at a time: the mean difference walks past the critical one.
    import scikit_posthocs as posthocs

    num_tasks, apart = 40, {True: [], False: []}
    for num_won in range(num_tasks // 2, num_tasks + 1):
        values = np.tile([[1.0], [0.0], [0.5]], num_tasks)
        values[:, num_won:] = [[0.0], [1.0], [0.5]]
        p = posthocs.posthoc_nemenyi_friedman(values.T).to_numpy()[0, 1]
        mean_ranks = stats.rankdata(-values, axis=0).mean(axis=1)
        apart[bool(p < 0.05)].append(mean_ranks[1] - mean_ranks[0])
    reach = alternatives.critical_difference(3, num_tasks)
    assert max(apart[False]) < reach < min(apart[True])


@pytest.mark.parametrize("seed", [7, 8])
def test_groups_are_the_pairs_that_scikit_posthocs_cannot_distinguish(seed):
    import scikit_posthocs as posthocs

    values = drawn(seed, backbones=7, tasks=15) + 0.2 * np.arange(7)[:, None]
    p_values = posthocs.posthoc_nemenyi_friedman(values.T).to_numpy()
    groups = alternatives.indistinct_groups(frame(values))["backbones"].to_list()
    together = {frozenset((a, b)) for group in groups for a in group for b in group if a != b}
    expected = {frozenset((f"b{i}", f"b{j}")) for i in range(7) for j in range(i) if p_values[i, j] >= 0.05}
    assert together == expected
    assert 0 < len(expected) < 21


def test_backbones_that_are_all_equal():
    scores = frame(np.ones((4, 5)))
    assert alternatives.friedman(scores)["p_value"].item() == 1
    assert alternatives.indistinct_groups(scores)["backbones"].to_list() == [["b0", "b1", "b2", "b3"]]
    found = alternatives.alternative_rankings(scores)
    assert found["strength"].to_list() == [0] * 4
    assert found["win_rate"].to_list() == [0.5] * 4
    assert alternatives.ranking_agreement(found)["kendall_tau"].null_count() == 6


def test_too_little_and_incomplete_tables_are_refused():
    with pytest.raises(EmptyInputError, match="got 2 on 5"):
        alternatives.friedman(frame(np.random.default_rng(0).random((2, 5))))
    with pytest.raises(MissingMeasurementError):
        alternatives.indistinct_groups(frame(drawn(0))[1:])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_a_monotone_transformation_of_a_task_moves_only_the_zscores(seed):
    values = drawn(seed)
    bent = values.copy()
    bent[:, 0] = np.exp(3 * bent[:, 0])
    one, other = (alternatives.alternative_rankings(frame(v)).sort("backbone") for v in (values, bent))
    columns = ["mean_rank", "win_rate", "strength", "rank_bradley_terry"]
    assert one.select(columns).equals(other.select(columns))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_flipping_direction_and_sign_changes_nothing_and_win_rates_average_a_half(seed):
    values = drawn(seed)
    one = alternatives.alternative_rankings(frame(values))
    other = alternatives.alternative_rankings(frame(-values, "min"))
    assert one.equals(other)
    assert one["win_rate"].mean() == pytest.approx(0.5)
    # With all comparisons made equally often, mean rank and win rate say the same.
    assert one["rank_mean_rank"].to_list() == one["rank_win_rate"].to_list()
