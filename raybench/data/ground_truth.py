"""Retrieval ground truth: positives and junk of each query, as indices into the gallery.

Junk images are neither right nor wrong: they are removed from the ranking before anything is measured. All
other images, distractors included, are negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from raybench.core.errors import DataError
from raybench.core.records import Split, digest_of

Indices = Int[np.ndarray, " p"]


class ClassTruth:
    """Positives are the gallery images of the query's class; their indices are computed per query.

    Args:
        queries: class ids, shape [q].
        gallery: class ids, shape [g].
        self_indices: each query's gallery index (leave-one-out), which is junk; None if queries and gallery
            are disjoint.
    """

    def __init__(
        self,
        queries: Int[np.ndarray, " q"],
        gallery: Int[np.ndarray, " g"],
        self_indices: Indices | None = None,
    ) -> None:
        self._queries = np.asarray(queries)
        self._self_indices = self_indices
        order = np.argsort(gallery, kind="stable")
        classes, starts = np.unique(np.asarray(gallery)[order], return_index=True)
        self._members = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))

    def __len__(self) -> int:
        return len(self._queries)

    def positives(self, query: int) -> Indices:
        """Gallery indices to retrieve, ascending: all of the class except the query itself."""
        members = self._members.get(int(self._queries[query]), np.empty(0, np.int64))
        return members if self._self_indices is None else members[members != self._self_indices[query]]

    def junk(self, query: int) -> Indices:
        """Gallery indices to remove from the ranking: the query itself, if it is in the gallery."""
        return np.empty(0, np.int64) if self._self_indices is None else self._self_indices[query : query + 1]


@dataclass(frozen=True, slots=True)
class ListedTruth:
    """Positives and junk listed for every query, as instance-level datasets do.

    Raises:
        DataError: if the lists differ in number, or an image is both positive and junk.
    """

    positive_lists: Sequence[Indices]
    junk_lists: Sequence[Indices]

    def __post_init__(self) -> None:
        if len(self.positive_lists) != len(self.junk_lists):
            raise DataError(
                f"positives are listed for {len(self.positive_lists)} queries but junk for "
                f"{len(self.junk_lists)}; list both for every query."
            )
        for query, (positive, junk) in enumerate(zip(self.positive_lists, self.junk_lists, strict=True)):
            if common := set(map(int, positive)) & set(map(int, junk)):
                raise DataError(
                    f"gallery image {min(common)} is both positive and junk of query {query}; it can be one."
                )

    def __len__(self) -> int:
        return len(self.positive_lists)

    def positives(self, query: int) -> Indices:
        return np.unique(np.asarray(self.positive_lists[query], dtype=np.int64))

    def junk(self, query: int) -> Indices:
        return np.unique(np.asarray(self.junk_lists[query], dtype=np.int64))

    def take(self, queries: Indices) -> "ListedTruth":
        """The ground truth of the queries at these positions, in that order."""
        return ListedTruth(
            [self.positive_lists[query] for query in queries], [self.junk_lists[query] for query in queries]
        )

    def among(self, gallery: Indices, num_before: int) -> "ListedTruth":
        """The ground truth after the gallery was reduced; indices are renumbered.

        Args:
            gallery: indices of the images that are left, ascending.
            num_before: size of the gallery before.
        """
        new_index = np.full(num_before, -1, dtype=np.int64)
        new_index[gallery] = np.arange(len(gallery))

        def renumbered(lists: Sequence[Indices]) -> list[Indices]:
            indices = [new_index[np.asarray(listed, dtype=np.int64)] for listed in lists]
            return [kept[kept >= 0] for kept in indices]

        return ListedTruth(renumbered(self.positive_lists), renumbered(self.junk_lists))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over positives and junk of every query."""
        lists = (self.positives, self.junk)
        return digest_of([[of(query).tolist() for query in range(len(self))] for of in lists])


GroundTruth = ClassTruth | ListedTruth
"""Positives and junk of every query; `len` is the number of queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The gallery of a split's queries, and which of its images are positives."""

    splits: tuple[Split, ...] = ("train",)
    """Splits whose images form the gallery, in this order; the dataset's distractors, if any, come last."""
    truth: ListedTruth | None = None
    """Ground truth; None: a query's positives are the images of its class."""
    leave_one_out: bool = False
    """True where the gallery is the split itself; each query is removed from its own ranking."""
