"""What a row of the dataset catalogue says: source, splits, queries, and where the files are expected."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from raybench.core.records import Split

Source = Literal["digits", "shapes", "folder", "torchvision", "huggingface", "parquet"]
SPLIT_SPELLINGS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""How sources spell our splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How a dataset relates to a shifted test set of it."""

    class_map: Mapping[str, tuple[str | int, ...]] | None = None
    """Class of the shifted set → classes (names or ids) of the dataset that count as it; their probabilities
    are averaged. None: the shifted set's class names are the dataset's, or its class ids in digits."""
    cue: str = ""
    """Regular expression whose group finds, in an example's id, the class of its conflicting second cue
    (texture, where the label is the shape); empty where there is none."""


Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """How a dataset becomes queries and galleries, for the protocol `retrieval`.

    A dataset without it asks with val and test, and its gallery is train.
    """

    kind: Literal["rest", "first", "listed"]
    """`rest`: every image of val, and of test, asks for the others of its split (leave-one-out).

    `first`: an undivided set; of every class the first `fraction` in the order of ids asks in test, the rest
    is test's gallery. For choosing, `val_fraction` of that gallery asks and the other part is searched.

    `listed`: a file says who asks for whom; class folders are not looked at. Test asks with the queries that
    are not val's; the gallery is the same for both."""
    fraction: float = 0.2
    """Of `first`: share of a class that asks, rounded down; a class too small for one query has none."""
    max_per_class: int | None = None
    """Of `first`: only so many images of a class are taken, the first in the order of ids; None: all."""
    layout: Literal["json", "copydays", "landmarks"] = "json"
    """Of `listed`: what the folder looks like; see the functions of that name in `data/listings.py`."""
    file: str = "gnd.json"
    """Of `listed`: the ground truth, below the dataset's folder."""
    difficulty: Difficulty = "medium"
    """Of `listed`, where positives are listed as easy and hard. Easy: hard ones are junk. Medium: both are
    positive. Hard: easy ones are junk."""
    crop: bool = False
    """Of `listed`: whether a query is cut to its box, where the file gives one. Oxford's and Paris's own
    protocol cuts; the paper's code took the whole image."""
    distractors: str = ""
    """Of `listed`: a folder of images that join the gallery and are positives of nothing."""
    shares: Literal["category", "instance"] = "category"
    """What a query and its positives have in common; for people, and for the report."""

    @property
    def divides(self) -> bool:
        """Whether the splits are made for retrieval, so that no classifier should be fitted to them."""
        return self.kind != "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """One dataset: its source, its splits, and what is done where a split is missing."""

    name: str
    source: Source
    location: str = ""
    """Folder, torchvision class, Hugging Face `org/name`, or Parquet file; empty for built-in sources."""
    splits: Mapping[Split, str] = field(default_factory=dict)
    """Our split → the source's name for it; `all` where the source is one undivided set. Empty: the source's
    own names, spelt as in SPLIT_SPELLINGS. A missing test is carved from train, then a missing val."""
    val_fraction: float = 0.2
    """Share of train that is carved, stratified, for a missing val (and for a missing test). Of listed
    queries: the share that asks in val; 0 leaves all of them to test, and nothing can be chosen."""
    examples_per_class: int | None = None
    """Few-shot cap on train and val together; test keeps every example."""
    num_classes: int | None = None
    num_images: int | None = None
    """Over all splits, for cost estimates; None when not known before loading."""
    unreadable: Literal["error", "skip"] = "error"
    """What an image that cannot be decoded does: stop the experiment, or be counted and left out."""
    image_column: str = "image"
    label_column: str = "label"
    revision: str | None = None
    """Hugging Face commit, branch or tag."""
    test_only: bool = False
    """True for a set that is only ever measured on (shifted, out of distribution): all of the split that
    `splits` names for test, or of the only one, is test; there is no train and no val."""
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    """Shifted test set (a `test_only` dataset) → how its classes relate to this dataset's."""
    queries: Queries | None = None
    """How retrieval asks, where it is not with val and test among train."""
    steps: str = ""
    """How to get it, of a row that raybench cannot download: its `location` lies below `data_folder()`."""
    licence: str = "unknown"
    citation: str = ""


def data_folder() -> Path:
    """Where downloaded datasets lie: $RAYBENCH_DATA, or ~/.cache/raybench/data."""
    return Path(os.environ.get("RAYBENCH_DATA") or Path.home() / ".cache" / "raybench" / "data")


def in_data_folder(info: DatasetInfo) -> DatasetInfo:
    """A row with `steps`, its paths below `data_folder()` made absolute."""
    root, queries = data_folder().resolve(), info.queries
    if queries is not None and queries.distractors:
        queries = replace(queries, distractors=str(root / queries.distractors))
    return replace(info, location=str(root / info.location), queries=queries)
