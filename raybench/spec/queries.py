"""Checks of a spec's datasets: the keys under `queries`, and whether a protocol can use a dataset."""

from dataclasses import fields, replace
from pathlib import Path

from raybench.catalog.dataset_info import DatasetInfo, Queries
from raybench.catalog.tasks import PROTOCOLS
from raybench.core.errors import DataError
from raybench.spec.document import Document, Location
from raybench.spec.names import Report
from raybench.spec.schema import DatasetEntry

_ALWAYS = ("kind", "shares")
KEYS = {
    "rest": _ALWAYS,
    "first": (*_ALWAYS, "fraction", "max_per_class"),
    "listed": (*_ALWAYS, "layout", "file", "difficulty", "crop", "distractors"),
}
"""Kind of queries → the keys that it may have."""


def resolve_queries(
    entry: DatasetEntry, location: Location, document: Document, report: Report
) -> Queries | None:
    """The entry's `queries` with absolute paths; contradictions are reported."""
    if entry.queries is None:
        if entry.val_fraction == 0:
            report(
                (*location, "val_fraction"), "`val_fraction` must be more than 0; val is needed to choose."
            )
        return None
    queries = Queries(**entry.queries.model_dump())
    where: Location = (*location, "queries")
    valid_keys = KEYS[queries.kind]
    for key in [field.name for field in fields(Queries) if field.name in entry.queries.model_fields_set]:
        if key not in valid_keys:
            report(
                (*where, key),
                f"`queries.{key}` means nothing to kind {queries.kind!r}, which has {', '.join(valid_keys)}.",
            )
    if queries.kind != "listed" and entry.val_fraction == 0:
        report((*location, "val_fraction"), "`val_fraction: 0` is for listed queries only; let it be more.")
    if queries.kind == "listed" and entry.folder is None:
        report(where, "listed queries lie in a folder with their images; write `folder: PATH`.")
    for key in ("examples_per_class", "test_only", "shifts"):
        if queries.divides and getattr(entry, key):
            report(
                (*location, key), f"`{key}` is for classifiers, and `queries` divides this set for retrieval."
            )
    if not queries.distractors:
        return queries
    try:
        distractors = document.resolve(queries.distractors)
    except DataError as error:
        report((*where, "distractors"), str(error))
        return queries
    if not distractors.is_dir():
        report((*where, "distractors"), f"there is no folder of distractors {str(distractors)!r}.")
    return replace(queries, distractors=str(distractors.resolve()))


def check_listed_files(info: DatasetInfo, location: Location, report: Report) -> None:
    """Report if the file that lists the queries is missing, where the layout has one."""
    if info.queries is None or info.queries.layout == "copydays":
        return
    path = Path(info.source.location) / info.queries.file
    if not path.is_file():
        report(
            location,
            f"dataset {info.name!r}: there is no list of queries {str(path)!r}; write its name as "
            "`queries: {kind: listed, file: NAME}`.",
        )


def check_use(
    info: DatasetInfo, protocol: str, location: Location, *, is_chosen: bool, report: Report
) -> None:
    """Report a task whose protocol cannot use its dataset.

    Args:
        is_chosen: whether hyperparameters are searched.
    """
    if protocol not in PROTOCOLS:
        return
    usable, queries = PROTOCOLS[protocol].annotations, info.queries
    if info.annotation not in usable:
        report(
            location,
            f"task '{protocol}@{info.name}': {protocol} needs a dataset annotated with "
            f"{' or '.join(usable)}, and {info.name!r} is annotated with {info.annotation}.",
        )
    elif queries is None or not queries.divides:
        return
    elif protocol != "retrieval":
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
