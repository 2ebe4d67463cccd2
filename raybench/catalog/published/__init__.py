"""Published results: tables of papers as rows, read with the standard library.

`bob` is Goldblum et al., "Battle of the Backbones", NeurIPS 2023. Its retrieval table (MRR, 33 backbones
× 8 datasets) is the output of `retrieval/nb_plotting.ipynb` in hsouri/bob-retrieval, run in May 2023 before a
later change of normalisation; the paper's second version may differ. Of its other tables only rank orders and
a few correlations are available; each states its certainty.
"""

import csv
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, NamedTuple

from raybench.core.errors import UnknownNameError
from raybench.core.records import Direction, Task
from raybench.core.registry import Registry, suggest


class PublishedScore(NamedTuple):
    """One cell of a published table; the columns that the ranking functions read."""

    backbone: str
    """The authors' own name of the checkpoint."""
    task: str
    """`protocol@dataset`."""
    category: str
    metric: str
    direction: Direction
    value: float


class PublishedBackbone(NamedTuple):
    """A backbone of a published table, as the paper's code describes it."""

    backbone: str
    timm: str
    """timm 1.0 name of the same weights; empty where timm has none."""
    architecture: str
    family: str
    """`cnn` or `transformer`."""
    pretrain_style: str
    pretrain_images: int | None
    """Distinct images; None if unknown."""
    params_m: float | None
    """Millions of parameters without the head; None if not measured."""


class PublishedScalar(NamedTuple):
    """A number in the text of a paper, to compare with one's own."""

    quantity: str
    value: float
    setting: str
    certainty: str


class PublishedRank(NamedTuple):
    """A rank that the text reports without its z-score."""

    scope: str
    rank: int
    backbone: str
    pretraining: str
    certainty: str


class PublishedResults(NamedTuple):
    """Available results of one paper."""

    name: str
    citation: str
    scores: tuple[PublishedScore, ...]
    backbones: tuple[PublishedBackbone, ...]
    scalars: tuple[PublishedScalar, ...]
    orders: tuple[PublishedRank, ...]


def _rows(file: str) -> list[Mapping[str, str]]:
    text = resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _optional(text: str, kind: Callable[[str], Any]) -> Any:
    return kind(text) if text else None


def _battle_of_the_backbones() -> PublishedResults:
    return PublishedResults(
        name="bob",
        citation='Goldblum et al., "Battle of the Backbones", NeurIPS 2023',
        scores=tuple(
            PublishedScore(
                row["backbone"],
                str(Task("retrieval", row["dataset"])),
                "retrieval",
                "mrr",
                "max",
                float(row["value"]),
            )
            for row in _rows("bob_retrieval.csv")
        ),
        backbones=tuple(
            PublishedBackbone(
                row["backbone"],
                row["timm"],
                row["architecture"],
                row["family"],
                row["pretrain_style"],
                _optional(row["pretrain_images"], int),
                _optional(row["params_m"], float),
            )
            for row in _rows("backbones.csv")
        ),
        scalars=tuple(
            PublishedScalar(row["quantity"], float(row["value"]), row["setting"], row["certainty"])
            for row in _rows("bob_scalars.csv")
        ),
        orders=tuple(
            PublishedRank(
                row["scope"], int(row["rank"]), row["backbone"], row["pretraining"], row["certainty"]
            )
            for row in _rows("bob_orders.csv")
        ),
    )


PUBLISHED: Registry[Callable[[], PublishedResults]] = Registry("published result")
PUBLISHED.add("bob", _battle_of_the_backbones)


def published(name: str) -> PublishedResults:
    """Read the published results `name` from the package's files.

    Raises:
        UnknownNameError: if there are none under that name.

    >>> len(published("bob").scores)
    264
    """
    if name not in PUBLISHED:
        hint = suggest(name, PUBLISHED) or "."
        raise UnknownNameError(f"no published table {name!r}{hint} There are {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]()
