"""Who counts as found: positives and junk of each query, as indices into the gallery.

Junk images are neither right nor wrong: they leave the ranking before anything is measured. All other images,
distractors included, are negatives.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Int

from raybench.errors import DataError

Indices = Int[np.ndarray, " p"]
Difficulty = Literal["easy", "medium", "hard"]


class GroundTruth(Protocol):
    """Positives and junk by query."""

    def __len__(self) -> int:
        """Number of queries."""
        ...

    def positives(self, query: int) -> Indices:
        """Gallery indices that should be found, ascending."""
        ...

    def junk(self, query: int) -> Indices:
        """Gallery indices that leave the ranking, ascending; disjoint from the positives."""
        ...


class ClassTruth:
    """Positives are the gallery images of the query's class; indices are made when asked for.

    Args:
        queries: class ids, shape [q].
        gallery: class ids, shape [n].
        own: each query's own index in the gallery (leave-one-out), which is junk; None where queries and
            gallery are disjoint.
    """

    def __init__(
        self, queries: Int[np.ndarray, " q"], gallery: Int[np.ndarray, " n"], own: Indices | None = None
    ) -> None:
        self._queries = np.asarray(queries)
        self._own = own
        order = np.argsort(gallery, kind="stable")
        classes, starts = np.unique(np.asarray(gallery)[order], return_index=True)
        self._members = dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))

    def __len__(self) -> int:
        return len(self._queries)

    def positives(self, query: int) -> Indices:
        """All of the class but the query itself."""
        found = self._members.get(int(self._queries[query]), np.empty(0, np.int64))
        return found if self._own is None else found[found != self._own[query]]

    def junk(self, query: int) -> Indices:
        """The query itself, if it is in the gallery."""
        return np.empty(0, np.int64) if self._own is None else self._own[query : query + 1]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisitedTruth:
    """Oxford or Paris as revisited: images by name, and three lists per query."""

    gallery: tuple[str, ...]
    queries: tuple[str, ...]
    lists: tuple[dict[str, Indices], ...]
    """Per query `easy`, `hard` and `junk`."""

    def at(self, difficulty: Difficulty) -> ListedTruth:
        """Easy: easy images are positive, hard ones junk. Medium: both positive. Hard: easy ones junk.

        Source: Radenović et al., "Revisiting Oxford and Paris", CVPR 2018, section 3.
        """
        positive = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}[difficulty]
        junk = tuple(kind for kind in ("easy", "hard", "junk") if kind not in positive)
        return ListedTruth(
            [np.concatenate([lists[kind] for kind in positive]) for lists in self.lists],
            [np.concatenate([lists[kind] for kind in junk]) for lists in self.lists],
        )


def read_revisited(path: Path) -> RevisitedTruth:
    """Read a JSON conversion of revisitop's `gnd_roxford5k.pkl` (or rparis6k).

    The original is a pickle, which runs code when it is opened, so raybench never opens it. Where you trust
    the file, convert it once: `g = pickle.load(open(P, "rb"))`, then `json.dump({"imlist": g["imlist"],
    "qimlist": g["qimlist"], "gnd": [{k: [int(i) for i in q[k]] for k in ("easy", "hard", "junk")}
    for q in g["gnd"]]}, open(J, "w"))`.

    Raises:
        DataError: if the file is not such JSON, or an index lies outside the gallery.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        gallery, queries = tuple(map(str, content["imlist"])), tuple(map(str, content["qimlist"]))
        lists = tuple(
            {kind: np.asarray(entry[kind], dtype=np.int64).reshape(-1) for kind in ("easy", "hard", "junk")}
            for entry in content["gnd"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} is no ground truth in JSON with 'imlist', 'qimlist' and 'gnd' ({error!r}); "
            "`read_revisited` says how to convert the pickle."
        ) from error
    if len(lists) != len(queries):
        raise DataError(f"{str(path)!r} has {len(queries)} queries but lists for {len(lists)}.")
    for name, entry in zip(queries, lists, strict=True):
        indices = np.concatenate(list(entry.values()))
        if indices.size and not 0 <= indices.min() <= indices.max() < len(gallery):
            raise DataError(
                f"{str(path)!r}: query {name!r} names a gallery index outside [0, {len(gallery)})."
            )
    return RevisitedTruth(gallery=gallery, queries=queries, lists=lists)
