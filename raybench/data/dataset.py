"""A dataset ready to use: three disjoint splits, of which test stays locked until the final stage."""

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
from raybench.data.source import SourceSplit


class Examples:
    """Images with their targets, in a fixed order. Nothing is decoded until `image` is called."""

    def __init__(
        self, source: SourceSplit, positions: Int64[np.ndarray, " n"], pixel_hashes: Sequence[str]
    ) -> None:
        self._source = source
        self._positions = positions
        self._hashes = pixel_hashes
        self.ids = [source.ids[p] for p in positions]
        self.targets: Int64[np.ndarray, " n"] = np.asarray(source.labels[positions], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def positions(self) -> Int64[np.ndarray, " n"]:
        """Where each example stands in its source."""
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

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids, targets and pixels in order: what features are cached under."""
        digest = hashlib.sha256()
        for name, target, pixels in zip(self.ids, self.targets.tolist(), self.pixel_hashes, strict=True):
            digest.update(f"{name}\0{target}\0{pixels}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneReport:
    """What was found wrong with a dataset and put right."""

    num_duplicates_across_splits: int = 0
    """Images dropped from train or val because a later split (val, test) holds the same pixels."""
    duplicates_removed: Mapping[str, int] = field(default_factory=dict)
    """Split → how many of them it lost. Test never loses any."""
    num_skipped: int = 0
    """Unreadable images left out, under `unreadable: skip`."""
    skipped: tuple[str, ...] = ()
    """The first of them by id, at most 20."""


class Dataset:
    """Train, val and test of one dataset: disjoint by pixels, every class in each.

    One that is divided into queries and gallery is as it was published instead: nothing is dropped from a
    gallery, a class may have no query, and where all listed queries are test's there is no val.

    Args:
        galleries: split → what its queries search in, where that is not train by class.
        distractors: images (their train split) that join every gallery and are positives of nothing. Apart,
            so that datasets with the same distractors share their features.

    Raises:
        SplitLockedError: test was asked for on an object that did not come from `unlocked()`.
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
        is_unlocked: bool = False,
    ) -> None:
        self.info = info
        self.distractors = distractors
        self.class_names = class_names
        self.hygiene = hygiene
        self.is_unlocked = is_unlocked
        self._splits = dict(splits)
        self._galleries = dict(galleries or {})
        self._fingerprints: dict[Split, str] = {}

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
        if name == "test":
            return self.test
        return self._splits[name]

    def unlocked(self) -> "Dataset":
        """A copy with test open. Only the final stage calls this, when nothing is chosen any more."""
        return Dataset(
            self.info,
            self.class_names,
            self._splits,
            self.hygiene,
            galleries=self._galleries,
            distractors=self.distractors,
            is_unlocked=True,
        )

    def gallery(self, split: Split) -> Gallery:
        """What the queries of `split` search in; test's is locked as test itself is."""
        self.split(split)
        return self._galleries.get(split, Gallery())

    @property
    def needed_to_choose(self) -> "list[tuple[Dataset, tuple[Split, ...]]]":
        """Whose features a search on val needs; the others are computed when test is opened."""
        own: list[tuple[Dataset, tuple[Split, ...]]] = [(self, ("train", "val"))]
        return own if self.distractors is None else [*own, (self.distractors, ("train",))]

    def num_examples(self, split: Split) -> int:
        """How many examples a split has; no lock, since a count steers nothing."""
        return len(self._splits[split])

    def split_fingerprint(self, split: Split) -> str:
        """Identity of one split's content. Datasets that share a test split share its features."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self._splits[split].fingerprint
        return self._fingerprints[split]

    @property
    def fingerprint(self) -> str:
        """Identity of all three splits, the class names and the galleries: 16 hexadecimal digits."""
        names: tuple[Split, ...] = ("train", "val", "test")
        parts = [list(self.class_names), *(self.split_fingerprint(name) for name in names)]
        for split, gallery in sorted(self._galleries.items()):
            truth = gallery.truth.digest if gallery.truth is not None else ""
            parts.append([split, *gallery.splits, truth])
        if self.distractors is not None:
            parts.append(self.distractors.fingerprint)
        return digest_of(parts)
