"""Rows of the dataset catalogue: source, annotation, splits, and queries for retrieval."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from raybench.catalog.dataset_sources import FolderSource, Source
from raybench.core.records import Split

Annotation = Literal["classes", "labels", "objects", "pixels", "depth"]
"""Annotation of each image: its class; a set of labels (multi-hot); objects with boxes or masks; a class per
pixel; a distance per pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How the classes of a shifted test set relate to a dataset's."""

    class_map: Mapping[str, tuple[str | int, ...]] | None = None
    """Class of the shifted set → classes (names or ids) of the dataset that count as it; their probabilities
    are averaged. None: the shifted set's class names are the dataset's, or its class ids in digits."""
    cue: str = ""
    """Regular expression whose group extracts, from an example's id, the class of a conflicting cue (the
    texture, if the label is the shape); images whose cues agree do not count. Empty without such a cue."""


Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """How a dataset is divided into queries and galleries, for the protocol `retrieval`.

    Without it, val and test are the queries and train is the gallery.
    """

    kind: Literal["rest", "first", "listed"]
    """`rest`: leave-one-out; every image of val (of test) is a query, the rest of its split is the gallery.

    `first`: of an undivided set, the first `fraction` of every class, in the order of ids, are test's queries
    and the rest is test's gallery. Of that gallery, `val_fraction` are val's queries and the others val's
    gallery.

    `listed`: a file lists queries and their positives; class folders are ignored. Test has all queries that
    val has not; both search the same gallery."""
    fraction: float = 0.2
    """For `first`: share of a class that becomes queries, rounded down; too small a class has none."""
    max_per_class: int | None = None
    """For `first`: number of images taken from a class, the first in the order of ids; None takes all."""
    layout: Literal["json", "copydays", "landmarks"] = "json"
    """For `listed`: format of the folder; one function each in `data/query_lists.py`."""
    file: str = "gnd.json"
    """For `listed`: the ground-truth file, relative to the dataset's folder."""
    difficulty: Difficulty = "medium"
    """For `listed`, if positives are graded as easy or hard. Easy: hard ones are junk. Medium: both are
    positive. Hard: easy ones are junk."""
    crop: bool = False
    """For `listed`: whether a query is cropped to its box, where the file gives one. Oxford's and Paris's
    official protocol crops; the code released with Goldblum et al. 2023 does not."""
    distractors: str = ""
    """For `listed`: a folder of images that are added to the gallery as negatives of every query."""
    shares: Literal["category", "instance"] = "category"
    """What a query and its positives have in common; shown in reports."""

    @property
    def divides(self) -> bool:
        """Whether the splits are made for retrieval, so that no classifier should be fitted to them."""
        return self.kind != "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """One dataset: its source, its splits, and how missing splits are made."""

    name: str
    source: Source
    annotation: Annotation = "classes"
    splits: Mapping[Split, str] = field(default_factory=dict)
    """Our split → the source's name for it; `all` where the source is one undivided set. Empty: the source's
    names, spelt as in SPLIT_SPELLINGS; if it has train and val but no test, its val is our test. A missing
    test split is taken from train, then a missing val split."""
    val_fraction: float = 0.2
    """Share of train that becomes a missing val split (and a missing test split), stratified by class. For
    listed queries, the share that val gets; with 0 all belong to test, and no hyperparameter can be tuned."""
    examples_per_class: int | None = None
    """Few-shot cap on train and val together; test keeps every example."""
    num_classes: int | None = None
    num_images: int | None = None
    """Over all splits, for cost estimates; None when not known before loading."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do about an image that cannot be decoded: stop the experiment, or count and skip it."""
    test_only: bool = False
    """True for a set that is only a test set (shifted, out of distribution): test is the split that `splits`
    names for it, or the only one; train and val are empty."""
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    """Shifted test set (a `test_only` dataset) → how its classes relate to this dataset's."""
    queries: Queries | None = None
    """Queries and galleries for retrieval; None: val and test are queries, train is the gallery."""
    steps: str = ""
    """Instructions for data that users must get themselves and put below `data_folder()`; else empty."""
    licence: str = "unknown"
    citation: str = ""

    def __post_init__(self) -> None:
        if self.annotation != "classes" and (self.examples_per_class is not None or self.shifts):
            raise ValueError(
                f"dataset {self.name!r}: `examples_per_class` and `shifts` need classes, but it is annotated "
                f"with {self.annotation}."
            )


def data_folder() -> Path:
    """Folder of downloaded datasets: $RAYBENCH_DATA, or ~/.cache/raybench/data."""
    return Path(os.environ.get("RAYBENCH_DATA") or Path.home() / ".cache" / "raybench" / "data")


def in_data_folder(info: DatasetInfo) -> DatasetInfo:
    """Make the paths of a row with `steps` absolute, below `data_folder()`."""
    root, queries = data_folder().resolve(), info.queries
    if queries is not None and queries.distractors:
        queries = replace(queries, distractors=str(root / queries.distractors))
    return replace(info, source=FolderSource(str(root / info.source.location)), queries=queries)
