"""Where a dataset's images come from: one record per kind of source, with its reader's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

BUILT_IN: Mapping[str, str] = {
    "digits": "raybench.data.built_in:read_digits",
    "shapes": "raybench.data.built_in:read_shapes",
    "shapes_individuals": "raybench.data.built_in:read_shapes_individuals",
}
"""Name, as stored specs have it → entry point of the reader."""
NUM_SHAPES: Mapping[str, int] = {"train": 2000, "val": 500, "test": 1000}
"""Images of each split of the drawn shapes."""
KNOWN_SIZES: Mapping[str, Mapping[str, int]] = dict.fromkeys(("shapes", "shapes_individuals"), NUM_SHAPES)
"""Built-in source → images of each split, where reading it takes seconds."""


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """Images that a function draws or reads from a format of its own."""

    location: str
    """Name in BUILT_IN, or `package.module:function` of a plug-in's reader."""
    kind: Literal["function"] = "function"

    @property
    def reader(self) -> str:
        return BUILT_IN.get(self.location, self.location)


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder of class folders, below split folders or not."""

    reader: ClassVar[str] = "raybench.data.from_folder:read_folder"
    location: str
    """Path; absolute in a checked spec."""
    kind: Literal["folder"] = "folder"


@dataclass(frozen=True, slots=True)
class TorchvisionSource:
    """A classification dataset of torchvision, downloaded where torchvision offers it."""

    reader: ClassVar[str] = "raybench.data.from_torchvision:read_torchvision"
    location: str
    """Class name in `torchvision.datasets`."""
    kind: Literal["torchvision"] = "torchvision"


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A dataset of the Hugging Face hub, or a folder written by `save_to_disk`."""

    reader: ClassVar[str] = "raybench.data.from_huggingface:read_huggingface"
    location: str
    """`org/name`, or the folder."""
    image_column: str = "image"
    label_column: str = "label"
    revision: str | None = None
    """Commit, branch or tag."""
    kind: Literal["huggingface"] = "huggingface"


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file of encoded images, one row per image."""

    reader: ClassVar[str] = "raybench.data.from_parquet:read_parquet"
    location: str
    """Path; absolute in a checked spec."""
    image_column: str = "image"
    label_column: str = "label"
    kind: Literal["parquet"] = "parquet"


UserSource = FolderSource | TorchvisionSource | HuggingFaceSource | ParquetSource
Source = FunctionSource | UserSource
"""Every source has a `kind`, a `location` and a `reader`, the entry point of a `data.source.Reader`."""
USER_SOURCES: Mapping[str, type[UserSource]] = {
    "folder": FolderSource,
    "torchvision": TorchvisionSource,
    "huggingface": HuggingFaceSource,
    "parquet": ParquetSource,
}
"""Key of a spec's dataset → the source that it describes."""
