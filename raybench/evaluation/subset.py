"""A subset of test that is the same for every backbone."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def hashed_subset(ids: Sequence[str], num_examples: int | None) -> Int[np.ndarray, " k"]:
    """Positions of the `num_examples` examples whose ids hash lowest, ascending; all if None or fewer.

    Does not depend on the order of `ids`, and changes little when examples are added.

    >>> hashed_subset(["a", "b", "c"], 2).tolist()
    [1, 2]
    """
    if num_examples is None or num_examples >= len(ids):
        return np.arange(len(ids))
    hashes = [hashlib.sha256(example_id.encode()).hexdigest() for example_id in ids]
    return np.sort(np.argsort(hashes, kind="stable")[:num_examples])
