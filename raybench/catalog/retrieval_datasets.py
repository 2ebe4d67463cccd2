"""The paper's retrieval datasets as rows, and the official variants of Oxford and Paris.

None can be downloaded by raybench: `steps` say what to put where, below `data_folder()`. Counts are the
publishers'; "unknown" means that no licence was found stated. Where the paper's code leaves a choice open,
the row says which one it takes (bob/inventory 3.6 and the code of hsouri/bob-retrieval).
"""

from collections.abc import Iterator
from dataclasses import replace

from raybench.catalog.dataset_info import DatasetInfo, Difficulty, Queries

REVISITED_TO_JSON = (
    'Where you trust the pickle, convert it once: `g = pickle.load(open("gnd_roxford5k.pkl", "rb"))`, then '
    '`json.dump({"imlist": g["imlist"], "qimlist": g["qimlist"], "gnd": [{k: [float(x) for x in q[k]] if '
    'k == "bbx" else [int(i) for i in q[k]] for k in ("bbx", "easy", "hard", "junk")} for q in g["gnd"]]}, '
    'open("gnd.json", "w"))`.'
)
"""revisitop publishes pickles only, which run code when they are opened; raybench opens none."""

_DISTRACTORS = "revisitop1m"


def _by_class(
    name: str, location: str, num_classes: int, num_images: int, queries: Queries, steps: str, citation: str
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        source="folder",
        location=location,
        splits={"train": "all"},
        num_classes=num_classes,
        num_images=num_images,
        queries=queries,
        steps=steps,
        citation=citation,
    )


def _listed(name: str, num_images: int, queries: Queries, steps: str, citation: str) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        source="folder",
        location=name,
        splits={"train": "all"},
        num_images=num_images,
        # All published queries are test's, so that numbers compare with other people's.
        val_fraction=0.0,
        queries=queries,
        steps=steps,
        citation=citation,
    )


def _revisited(name: str, images: str, num_images: int, citation: str) -> DatasetInfo:
    """The paper's variant: easy and hard are positive, and the whole image asks."""
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
    # "iNat val" in the paper's code, with 5 images a class: of iNaturalist's validation sets only 2021's has
    # as many of every class (it has 10). An inference: the year is not stated.
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
    # 50,000 images, of which at most 50 a class are taken. The published ones carry a red border of a pixel,
    # which the paper's code left on, and so does raybench.
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
    # The part S1: one object per image, 100 objects, 11,011 images, of which at most 50 an object are taken.
    _by_class(
        "instre",
        "instre/INSTRE-S1",
        100,
        100 * 50,
        Queries(kind="first", max_per_class=50, shares="instance"),
        "Get INSTRE from its publishers and put its folder `INSTRE-S1`, with 100 folders of objects, there.",
        "Wang and Jiang, INSTRE: a new benchmark for instance-level object retrieval, ACM TOMM 2015",
    ),
    # The publishers choose by the queries marked Public and report those marked Private, by the average
    # precision of the first 100 places; `map` here is over all. The paper's code takes both marks together,
    # and a database folder whose content is not documented.
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
    # The strong copies ask, the originals are the gallery, as in the publishers' evaluation. The paper's code
    # reads its own lists (`qvmapping.p`), which were not released.
    _listed(
        "copydays",
        157 + 229,
        Queries(kind="listed", layout="copydays", shares="instance"),
        "Put the images of copydays_original.tar.gz into its folder `original` and those of "
        "copydays_strong.tar.gz into `strong`.",
        "Douze et al., Evaluation of GIST descriptors for web-scale image search, CIVR 2009",
    ),
)
"""The eight of the paper's table, in the inventory's order (bob/inventory, table 2 row 7)."""


def _official(paper: DatasetInfo) -> Iterator[DatasetInfo]:
    """Oxford's or Paris's own protocol, with queries cut to their boxes: three difficulties, a million
    distractors, and a variant to choose hyperparameters by."""

    def variant(suffix: str, difficulty: Difficulty, distractors: str = "") -> DatasetInfo:
        queries = Queries(
            kind="listed", difficulty=difficulty, crop=True, distractors=distractors, shares="instance"
        )
        return replace(paper, name=f"{paper.name}_{suffix}", queries=queries)

    yield variant("easy", "easy")
    yield variant("medium", "medium")
    yield variant("hard", "hard")
    noisy: tuple[Difficulty, ...] = ("medium", "hard")
    for difficulty in noisy:
        with_noise = variant(f"{difficulty}_1m", difficulty, _DISTRACTORS)
        steps = f"{paper.steps} Put revisitop1m's images into the folder `{_DISTRACTORS}` beside it."
        yield replace(with_noise, num_images=(paper.num_images or 0) + 1_001_001, steps=steps)
    yield replace(variant("tuned", "medium"), val_fraction=0.2)


RETRIEVAL_ROWS: tuple[DatasetInfo, ...] = (
    *PAPER_ROWS,
    *(row for paper in PAPER_ROWS if paper.name in ("roxford5k", "rparis6k") for row in _official(paper)),
)
"""Every row that is divided into queries and gallery."""
