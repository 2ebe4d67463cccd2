"""Published results: tables of papers and leaderboards as rows, read with the standard library.

`bob` is Goldblum et al., "Battle of the Backbones", NeurIPS 2023. Its retrieval table (MRR, 33 backbones
× 8 datasets) is the output of `retrieval/nb_plotting.ipynb` in hsouri/bob-retrieval, run in May 2023 before a
later change of normalisation; the paper's second version may differ. Of its other tables only rank orders and
a few correlations are available; each states its certainty.

`timm` and `mieb` are made by `docs/published_tables.py`, which names files and commits of the sources.

- `timm` (Apache-2.0): top-1 of 1,265 checkpoints with ImageNet heads on ImageNet, ReaL, V2 (matched
  frequency), Sketch, A and R, with parameters, multiply-adds and images per second on four machines.
- `mieb` (CC0): 22 probes of the Massive Image Embedding Benchmark (logistic regression on 16 examples per
  class, mean of five draws) of 48 models, named as on the Hugging Face hub. One cell is implausible in the
  source: BAAI/bge-visualized-m3 has 0.001 on ImageNet-1k.
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
    """Millions of parameters, in `bob` without the head; None if not measured."""
    flops_g: float | None = None
    """GFLOPs of a forward pass: two per multiply-add."""
    images_per_second: Mapping[str, float] = {}
    """Machine → throughput."""


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


def _compressed_rows(file: str) -> list[dict[str, str]]:
    import lzma  # Deferred: most commands read no published table.

    content = lzma.decompress(resources.files(__name__).joinpath(file).read_bytes())
    return list(csv.DictReader(content.decode().splitlines()))


def _optional(text: str, kind: Callable[[str], Any]) -> Any:
    return kind(text) if text else None


def _accuracy(backbone: str, task: Task, value: str) -> PublishedScore:
    return PublishedScore(backbone, str(task), "classification", "accuracy", "max", float(value))


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


MACHINES: Mapping[str, str] = {
    "rtx5090": "GeForce RTX 5090, mixed precision, large batches",
    "rtx4090": "GeForce RTX 4090, mixed precision, large batches",
    "rtx3090": "GeForce RTX 3090, mixed precision, large batches",
    "cpu": "laptop CPU i7-12700H, float32, one image at a time",
}
"""Machines of the throughputs in `timm`."""
_TIMM_TASKS = ("imagenet", "imagenet_real", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r")


def _timm() -> PublishedResults:
    rows = _compressed_rows("timm.csv.xz")
    return PublishedResults(
        name="timm",
        citation="results of timm (huggingface/pytorch-image-models, commit aa4b5850), Apache-2.0",
        scores=tuple(
            _accuracy(row["backbone"], Task("pretrained_head", task), row[task])
            for row in rows
            for task in _TIMM_TASKS
        ),
        backbones=tuple(
            PublishedBackbone(
                backbone=row["backbone"],
                timm=row["backbone"],
                architecture=row["backbone"].partition(".")[0],
                family=row["family"],
                pretrain_style=row["backbone"].partition(".")[2],
                pretrain_images=None,
                params_m=float(row["params_m"]),
                flops_g=_optional(row["flops_g"], float),
                images_per_second={m: float(row[m]) for m in MACHINES if row[m]},
            )
            for row in rows
        ),
        scalars=(),
        orders=(),
    )


def _mieb() -> PublishedResults:
    rows = _compressed_rows("mieb.csv.xz")
    described = ("backbone", "timm", "family", "params_m")
    return PublishedResults(
        name="mieb",
        citation="MIEB's probes (embeddings-benchmark/results, commit f4cc6c8), CC0",
        scores=tuple(
            _accuracy(row["backbone"], Task("linear_probe", task), value)
            for row in rows
            for task, value in row.items()
            if task not in described and value
        ),
        backbones=tuple(
            PublishedBackbone(
                backbone=row["backbone"],
                timm=row["timm"],
                architecture=row["timm"].partition(".")[0],
                family=row["family"],
                pretrain_style="unknown",
                pretrain_images=None,
                params_m=_optional(row["params_m"], float),
            )
            for row in rows
        ),
        scalars=(),
        orders=(),
    )


PUBLISHED: Registry[Callable[[], PublishedResults]] = Registry("published result")
PUBLISHED.add("bob", _battle_of_the_backbones)
PUBLISHED.add("timm", _timm)
PUBLISHED.add("mieb", _mieb)


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
