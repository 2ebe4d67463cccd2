"""Main effects of a packed grid's dimensions: exact shares of variance, without a model."""

from collections.abc import Mapping, Sequence

import numpy as np

from raybench.core.errors import EmptyInputError
from raybench.core.records import HparamValue

INTERACTION = "(interaction)"


def main_effects(cells: Sequence[Mapping[str, HparamValue]], objective: str) -> dict[str, float] | None:
    """Share of the cells' variance that each dimension's main effect explains, and INTERACTION for the rest.

    A main effect is the variance of the means over all other dimensions, which is exact because the grid is
    full. Shares lie in [0, 1] and add up to 1. None if all cells have the same score.

    Args:
        cells: one per head, with its hyperparameters and its score.
        objective: key of the score.

    Raises:
        EmptyInputError: if there is no cell, or the grid is not full.

    >>> grid = [{"lr": lr, "wd": wd, "accuracy": lr} for lr in (1, 2) for wd in (0, 1)]
    >>> main_effects(grid, "accuracy")
    {'lr': 1.0, 'wd': 0.0, '(interaction)': 0.0}
    """
    dimensions = [name for name in (cells[0] if cells else ()) if name != objective]
    values = np.array([float(cell[objective]) for cell in cells])
    levels = {name: [repr(cell[name]) for cell in cells] for name in dimensions}
    size = int(np.prod([len(set(entries)) for entries in levels.values()]))
    num_distinct = len(set(zip(*levels.values(), strict=True)))
    if not cells or not num_distinct == len(cells) == size:
        raise EmptyInputError(f"a full grid of heads is needed, got {len(cells)} cells of {size}.")
    total = float(values.var())
    if total <= 1e-18:
        return None
    shares = {
        name: float(
            sum(
                (values[is_level].mean() - values.mean()) ** 2 * is_level.mean()
                for level in sorted(set(entries))
                for is_level in [np.array([entry == level for entry in entries])]
            )
            / total
        )
        for name, entries in levels.items()
    }
    return {**shares, INTERACTION: max(0.0, 1.0 - sum(shares.values()))}
