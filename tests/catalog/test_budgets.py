"""Budgets are listed from the smallest to the largest."""

from itertools import pairwise

from raybench.catalog.budgets import BUDGETS


def test_each_budget_allows_at_least_what_the_one_before_does():
    for smaller, larger in pairwise(BUDGETS.values()):
        assert smaller.num_trials < larger.num_trials
        assert smaller.seeds <= larger.seeds
        assert (smaller.max_epochs or 10**9) <= (larger.max_epochs or 10**9)
