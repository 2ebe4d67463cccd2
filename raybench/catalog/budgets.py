"""Budgets: limits on trials, epochs and seconds, chosen by one word in a spec."""

from dataclasses import dataclass

from raybench.core.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on trials, epochs, seconds and seeds of each pair; a spec may lower but not raise them."""

    name: str
    num_trials: int
    """Largest number of search trials per pair, and the default of `search.num_trials`."""
    max_epochs: int | None
    """Largest number of epochs of one trial; None: the protocol's own number."""
    wall_seconds: float | None
    """Seconds after which a trial stops and keeps its best epoch so far; None is no limit."""
    seeds: int
    """Number of seeds of the final stage, from 0, for a spec that lists none."""


BUDGETS: Registry[Budget] = Registry("budget")
for _budget in (
    # Shows that everything works; no scientific claim.
    Budget(name="smoke", num_trials=2, max_epochs=2, wall_seconds=120.0, seeds=1),
    # Minutes on a laptop; enough to separate pretrained from random.
    Budget(name="quick", num_trials=8, max_epochs=30, wall_seconds=1800.0, seeds=2),
    # Every protocol's own epochs; of 32 draws one is in the best 10 % with probability 1 - 0.9**32 = 97 %.
    Budget(name="standard", num_trials=32, max_epochs=None, wall_seconds=None, seeds=3),
    # For numbers to be published: five seeds, and 128 draws reach the best 3 % with probability 98 %.
    Budget(name="thorough", num_trials=128, max_epochs=None, wall_seconds=None, seeds=5),
):
    BUDGETS.add(_budget.name, _budget)
