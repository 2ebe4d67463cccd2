"""Retrieval datasets: the eight of Goldblum et al. 2023, and the official variants of Oxford and Paris.

raybench downloads none of them: `steps` say what to put where, below `data_folder()`. Counts are the
publishers'; "unknown" means that they state no licence. "The paper" is Goldblum et al. 2023, its code
`retrieval/main_ret.py` of hsouri/bob-retrieval; where that code leaves a choice open, the row says which one
it takes.
"""

from collections.abc import Iterator
from dataclasses import replace

from raybench.catalog.dataset_info import DatasetInfo, Difficulty, Queries
from raybench.catalog.dataset_sources import FolderSource

REVISITED_TO_JSON = (
    'Where you trust the pickle, convert it once: `g = pickle.load(open("gnd_roxford5k.pkl", "rb"))`, then '
    '`json.dump({"imlist": g["imlist"], "qimlist": g["qimlist"], "gnd": [{k: [float(x) for x in q[k]] if '
    'k == "bbx" else [int(i) for i in q[k]] for k in ("bbx", "easy", "hard", "junk")} for q in g["gnd"]]}, '
    'open("gnd.json", "w"))`.'
)
"""revisitop publishes pickles only. raybench opens none: a pickle can run code when it is opened."""

_DISTRACTORS = "revisitop1m"


def _by_class(
    name: str,
    folder: str,
    num_classes: int | None,
    num_images: int,
    queries: Queries,
    steps: str,
    citation: str,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        source=FolderSource(folder),
        splits={"train": "all"},
        num_classes=num_classes,
        num_images=num_images,
        queries=queries,
        steps=steps,
        citation=citation,
    )


def _listed(name: str, num_images: int, queries: Queries, steps: str, citation: str) -> DatasetInfo:
    """A dataset with listed queries, all of them for test, so that results compare with published ones."""
    return replace(_by_class(name, name, None, num_images, queries, steps, citation), val_fraction=0.0)


def _revisited(name: str, images: str, num_images: int, citation: str) -> DatasetInfo:
    """The paper's variant: easy and hard are positive, and the query is the whole image."""
    return _listed(
        name,
        num_images,
        Queries(kind="listed", shares="instance"),
        f"Put {images} there, in any subfolder, and `gnd.json` beside them, made of revisitop's "
        f"`gnd_{name}.pkl`. {REVISITED_TO_JSON.replace('roxford5k', name)}",
        f"{citation}; Radenović et al., Revisiting Oxford and Paris, CVPR 2018",
    )


PAPER_ROWS: tuple[DatasetInfo, ...] = (
    _by_class(
        "cub200",
        "cub200/images",
        200,
        11_788,
        Queries(kind="first"),
        "Unpack CUB_200_2011.tgz (Caltech-UCSD Birds) and put its folder `images` there.",
        "Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001",
    ),
    # "iNat val" in the paper's code, with 5 images a class. The year is not stated; 2021 is inferred, because
    # it is the only validation set of iNaturalist with as many images of every class (10).
    _by_class(
        "inaturalist",
        "inaturalist/val",
        10_000,
        50_000,
        Queries(kind="first", max_per_class=5),
        "Unpack val.tar.gz of the iNaturalist 2021 competition and put its folder `val`, with a folder for "
        "each of 10,000 species, there.",
        "Van Horn et al., Benchmarking Representation Learning for Natural World Image Collections, 2021",
    ),
    # 50,000 images, of which at most 50 a class are taken. They carry a red border of one pixel, which the
    # paper's code does not remove, and neither does raybench.
    _by_class(
        "objectnet",
        "objectnet/images",
        313,
        313 * 50,
        Queries(kind="first", max_per_class=50),
        "Unpack objectnet-1.0.zip (its publishers give the password and forbid training on it) and put its "
        "folder `images`, with 313 folders of classes, there.",
        "Barbu et al., ObjectNet, NeurIPS 2019",
    ),
    # Part S1: 11,011 images of 100 objects, one object per image; at most 50 images of an object are taken.
    _by_class(
        "instre",
        "instre/INSTRE-S1",
        100,
        100 * 50,
        Queries(kind="first", max_per_class=50, shares="instance"),
        "Get INSTRE from its publishers and put its folder `INSTRE-S1`, with 100 folders of objects, there.",
        "Wang and Jiang, INSTRE: a new benchmark for instance-level object retrieval, ACM TOMM 2015",
    ),
    # The publishers choose on the queries marked Public and report on those marked Private, by average
    # precision of the first 100 results; `map` here is over all results. The paper's code takes both marks
    # together, and a database folder whose content is not documented.
    replace(
        _listed(
            "google_landmarks_v2",
            761_757,  # The index; the queries are some hundred more.
            Queries(kind="listed", layout="landmarks", file="retrieval_solution_v2.1.csv", shares="instance"),
            "Put version 2.1's images there as `index/a/b/c/abc….jpg` and `test/a/b/c/abc….jpg`, and "
            "`retrieval_solution_v2.1.csv` beside them.",
            "Weyand et al., Google Landmarks Dataset v2, CVPR 2020",
        ),
        licence="CC0 or public domain (images), CC-BY-4.0 (annotations)",
    ),
    _revisited(
        "roxford5k",
        "the Oxford buildings (oxbuild_images-v1.tgz)",
        4_993 + 70,
        "Philbin et al., Object retrieval with large vocabularies, CVPR 2007",
    ),
    _revisited(
        "rparis6k",
        "the Paris buildings (paris_1-v1.tgz and paris_2-v1.tgz)",
        6_322 + 70,
        "Philbin et al., Lost in quantization, CVPR 2008",
    ),
    # The strong copies are the queries and the originals the gallery, as in the publishers' evaluation. The
    # paper's code reads lists of its own (`qvmapping.p`), which were not released.
    _listed(
        "copydays",
        157 + 229,
        Queries(kind="listed", layout="copydays", shares="instance"),
        "Put the images of copydays_original.tar.gz into its folder `original` and those of "
        "copydays_strong.tar.gz into `strong`.",
        "Douze et al., Evaluation of GIST descriptors for web-scale image search, CIVR 2009",
    ),
)
"""The eight datasets of the paper's retrieval table, in its order."""


def _official(paper: DatasetInfo) -> Iterator[DatasetInfo]:
    """Variants of Oxford or Paris by their official protocol, which crops queries to their boxes.

    Three difficulties, two of them also with a million distractors, and `tuned`, which keeps queries for val.
    """

    def variant(suffix: str, difficulty: Difficulty, distractors: str = "") -> DatasetInfo:
        queries = Queries(
            kind="listed", difficulty=difficulty, crop=True, distractors=distractors, shares="instance"
        )
        return replace(paper, name=f"{paper.name}_{suffix}", queries=queries)

    yield variant("easy", "easy")
    yield variant("medium", "medium")
    yield variant("hard", "hard")
    distracted: tuple[Difficulty, ...] = ("medium", "hard")
    for difficulty in distracted:
        row = variant(f"{difficulty}_1m", difficulty, _DISTRACTORS)
        steps = f"{paper.steps} Put revisitop1m's images into the folder `{_DISTRACTORS}` beside it."
        yield replace(row, num_images=(paper.num_images or 0) + 1_001_001, steps=steps)
    yield replace(variant("tuned", "medium"), val_fraction=0.2)


RETRIEVAL_ROWS: tuple[DatasetInfo, ...] = (
    *PAPER_ROWS,
    *(row for paper in PAPER_ROWS if paper.name in ("roxford5k", "rparis6k") for row in _official(paper)),
)
"""Every row that is divided into queries and gallery."""
