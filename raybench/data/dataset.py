"""A loaded dataset: three disjoint splits, of which test stays locked until the final stage."""

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from raybench.catalog.dataset_info import DatasetInfo
from raybench.core.errors import SplitLockedError
from raybench.core.records import Split, digest_of
from raybench.data.decoding import RgbImage
from raybench.data.ground_truth import Gallery
from raybench.data.source import SourceSplit, Targets


class Examples:
    """Images with their targets, in a fixed order. Nothing is decoded until `image` is called."""

    def __init__(
        self, source: SourceSplit, positions: Int64[np.ndarray, " n"], pixel_hashes: Sequence[str]
    ) -> None:
        self._source = source
        self._positions = positions
        self._hashes = pixel_hashes
        self.ids = [source.ids[p] for p in positions]
        self.targets: Targets = source.targets[positions]

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def positions(self) -> Int64[np.ndarray, " n"]:
        """Index of each example in its source."""
        return self._positions

    def image(self, index: int) -> RgbImage:
        """Decode the image at `index`: uint8 [h, w, 3]. Safe to call from several threads."""
        return self._source.read(int(self._positions[index]))

    @property
    def pixel_hashes(self) -> list[str]:
        """Per example the SHA-256 prefix of its pixels; equal exactly where images are equal."""
        return [self._hashes[p] for p in self._positions]

    def take(self, indices: Int64[np.ndarray, " k"]) -> "Examples":
        """The examples at `indices`, in that order."""
        return Examples(self._source, self._positions[indices], self._hashes)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids, targets and pixels in order; key of cached features."""
        digest = hashlib.sha256()
        for name, target, pixels in zip(self.ids, self._target_texts(), self.pixel_hashes, strict=True):
            digest.update(f"{name}\0{target}\0{pixels}\n".encode())
        return digest.hexdigest()[:16]

    def _target_texts(self) -> list[str]:
        """A class id as its number, an array as the SHA-256 of its content."""
        if self.targets.ndim == 1:
            return [str(target) for target in self.targets.tolist()]
        return [hashlib.sha256(np.ascontiguousarray(target).data).hexdigest() for target in self.targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneReport:
    """Images that loading left out: duplicates across splits, and unreadable ones."""

    num_duplicates_across_splits: int = 0
    """Images dropped from train or val because a later split (val, test) holds the same pixels."""
    duplicates_removed: Mapping[str, int] = field(default_factory=dict)
    """Split → number of its images that were removed; test never loses any."""
    num_skipped: int = 0
    """Unreadable images left out, under `unreadable: skip`."""
    skipped: tuple[str, ...] = ()
    """Ids of skipped images: the first ones, at most 20."""

    def sentences(self, dataset: str) -> list[str]:
        """One sentence per reason for which images of a dataset were left out."""
        return left_out_sentences(dataset, self.num_duplicates_across_splits, self.num_skipped)


def left_out_sentences(dataset: str, num_duplicates: int, num_skipped: int) -> list[str]:
    """Sentences on images that loading left out.

    >>> left_out_sentences("pets", 3, 0)
    ['pets: 3 images dropped: a later split holds the same pixels.']
    """
    sentences = []
    if num_duplicates:
        sentences.append(f"{dataset}: {num_duplicates} images dropped: a later split holds the same pixels.")
    if num_skipped:
        sentences.append(f"{dataset}: {num_skipped} unreadable images were skipped, as the spec allows.")
    return sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """How the source was read."""

    origins: Mapping[Split, str] = field(default_factory=dict)
    """Split → its part of the source, or how it was carved."""
    notes: tuple[str, ...] = ()
    """Sentences on files that were left out, and on splits that are not what one might expect."""


class Dataset:
    """Train, val and test of one dataset: disjoint by pixels, every class in each.

    A dataset that is divided into queries and gallery stays as it was published instead: nothing is dropped
    from a gallery, a class may have no query, and val is empty where all listed queries are test's.

    Args:
        galleries: split → its queries' gallery, where that is not train with positives by class.
        distractors: images (its train split) that are added to every gallery as negatives. A dataset of its
            own, so that datasets with the same distractors share their features.
        source: how the source was read.

    Raises:
        SplitLockedError: test was read from an object that `unlocked()` did not return.
    """

    def __init__(
        self,
        info: DatasetInfo,
        class_names: tuple[str, ...],
        splits: Mapping[Split, Examples],
        hygiene: HygieneReport,
        *,
        galleries: Mapping[Split, Gallery] | None = None,
        distractors: "Dataset | None" = None,
        source: SourceReport = SourceReport(),
    ) -> None:
        self.info = info
        self.source = source
        self.distractors = distractors
        self.class_names = class_names
        self.hygiene = hygiene
        self.is_unlocked = False
        self._splits = dict(splits)
        self._galleries = dict(galleries or {})

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def train(self) -> Examples:
        return self._splits["train"]

    @property
    def val(self) -> Examples:
        return self._splits["val"]

    @property
    def test(self) -> Examples:
        if not self.is_unlocked:
            raise SplitLockedError(
                f"the test split of {self.info.name!r} is locked while hyperparameters are being chosen; "
                "choose on val. The final stage opens it with `dataset.unlocked()`."
            )
        return self._splits["test"]

    def split(self, name: Split) -> Examples:
        """The split called `name`, under the same lock as the attribute."""
        return self.test if name == "test" else self._splits[name]

    def unlocked(self) -> "Dataset":
        """A copy whose test split can be read; for the final stage, when every choice has been made."""
        opened = copy.copy(self)
        opened.is_unlocked = True
        return opened

    def gallery(self, split: Split) -> Gallery:
        """The gallery of `split`'s queries; test's is locked like test itself."""
        self.split(split)
        return self._galleries.get(split, Gallery())

    @property
    def search_parts(self) -> "list[tuple[Dataset, tuple[Split, ...]]]":
        """Datasets and their splits whose features a search on val needs."""
        parts: list[tuple[Dataset, tuple[Split, ...]]] = [(self, ("train", "val"))]
        return parts if self.distractors is None else [*parts, (self.distractors, ("train",))]

    def num_examples(self, split: Split) -> int:
        """Number of examples of a split. Not locked: a count reveals nothing about test's content."""
        return len(self._splits[split])

    def split_fingerprint(self, split: Split) -> str:
        """Fingerprint of one split's content. Datasets that share a test split share its features."""
        return self._splits[split].fingerprint

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all three splits, the class names and the galleries."""
        names: tuple[Split, ...] = ("train", "val", "test")
        parts = [list(self.class_names), *(self.split_fingerprint(name) for name in names)]
        for split, gallery in sorted(self._galleries.items()):
            truth = gallery.truth.digest if gallery.truth is not None else ""
            parts.append([split, *gallery.splits, truth])
        if self.distractors is not None:
            parts.append(self.distractors.fingerprint)
        return digest_of(parts)
