"""A part of test that is the same for every backbone."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def stated_subset(ids: Sequence[str], num_examples: int | None) -> Int[np.ndarray, " k"]:
    """Positions of `num_examples` examples, ascending: those whose ids hash lowest. All, where None or fewer.

    Nothing random and nothing that depends on the order: adding examples elsewhere moves few.

    >>> stated_subset(["a", "b", "c"], 2).tolist()
    [1, 2]
    """
    if num_examples is None or num_examples >= len(ids):
        return np.arange(len(ids))
    hashes = [hashlib.sha256(example_id.encode()).hexdigest() for example_id in ids]
    return np.sort(np.argsort(hashes, kind="stable")[:num_examples])
