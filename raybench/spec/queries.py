"""A spec's datasets for retrieval: what `queries` may say, and what may be asked of what it divides."""

from dataclasses import fields, replace
from pathlib import Path

from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.tasks import PROTOCOLS
from raybench.spec.document import Document, Location
from raybench.spec.names import Report
from raybench.spec.schema import DatasetEntry, QueriesEntry

_ALWAYS = ("kind", "shares")
KEYS = {
    "rest": _ALWAYS,
    "first": (*_ALWAYS, "fraction", "max_per_class"),
    "listed": (*_ALWAYS, "layout", "file", "difficulty", "crop", "distractors"),
}
"""Kind → keys that mean something to it."""


def resolve_queries(
    entry: DatasetEntry, location: Location, document: Document, report: Report
) -> Queries | None:
    """The entry's `queries`, paths made absolute; what does not go together is reported."""
    asked = entry.queries
    if asked is None:
        if entry.val_fraction == 0:
            report(
                (*location, "val_fraction"), "`val_fraction` must be more than 0; val is needed to choose."
            )
        return None
    where: Location = (*location, "queries")
    known = KEYS[asked.kind]
    for key in _given(asked):
        if key not in known:
            said = f"`queries.{key}` means nothing to kind {asked.kind!r}, which has {', '.join(known)}."
            report((*where, key), said)
    if asked.kind != "listed" and entry.val_fraction == 0:
        report((*location, "val_fraction"), "`val_fraction: 0` is for listed queries only; let it be more.")
    if asked.kind == "listed" and entry.folder is None:
        report(where, "listed queries lie in a folder with their images; write `folder: PATH`.")
    for key in ("examples_per_class", "test_only", "shifts"):
        if asked.kind != "rest" and getattr(entry, key):
            report(
                (*location, key), f"`{key}` is for classifiers, and `queries` divides this set for retrieval."
            )
    queries = Queries(**asked.model_dump())
    if not queries.distractors:
        return queries
    distractors = document.resolve(queries.distractors)
    if not distractors.is_dir():
        report((*where, "distractors"), f"there is no folder of distractors {str(distractors)!r}.")
    return replace(queries, distractors=str(distractors.resolve()))


def check_listed_files(info: DatasetInfo, location: Location, report: Report) -> None:
    """The file that lists the queries must be there, if the layout has one."""
    if info.queries is None or info.queries.layout == "copydays":
        return
    path = Path(info.location) / info.queries.file
    if not path.is_file():
        report(
            location,
            f"dataset {info.name!r}: there is no list of queries {str(path)!r}; write its name as "
            "`queries: {kind: listed, file: NAME}`.",
        )


def check_use(
    info: DatasetInfo, protocol: str, location: Location, *, is_chosen: bool, report: Report
) -> None:
    """A divided dataset is for retrieval; one without val queries for fixed hyperparameters.

    Args:
        is_chosen: whether hyperparameters are searched.
    """
    queries = info.queries
    if queries is None or not queries.divides:
        return
    if protocol != "retrieval" and protocol in PROTOCOLS:
        report(
            location,
            f"dataset {info.name!r} is divided into queries and gallery, which {protocol} cannot use; "
            f"write retrieval@{info.name}, or a dataset of your own over the same folder.",
        )
    elif is_chosen and queries.kind == "listed" and queries.layout != "landmarks" and info.val_fraction == 0:
        report(
            location,
            f"all queries of {info.name!r} are test's, as published, so nothing can be chosen by them; add "
            "`preset: paper` to the spec, or take a dataset that keeps some (`val_fraction`).",
        )


def _given(entry: QueriesEntry) -> list[str]:
    return [field.name for field in fields(Queries) if field.name in entry.model_fields_set]
