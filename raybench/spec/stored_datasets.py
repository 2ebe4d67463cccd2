"""Dataset rows of stored specs, including those of earlier versions."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BeforeValidator

from raybench.catalog.dataset_info import DatasetInfo
from raybench.catalog.dataset_sources import USER_SOURCES

_FLAT = ("location", "image_column", "label_column", "revision")
"""Keys of a source that were keys of the dataset until sources became records."""


def _nest_source(row: Any) -> Any:
    """Move a source's settings into its record, in a row that an earlier version wrote."""
    if not isinstance(row, Mapping) or not isinstance(row.get("source"), str):
        return row
    kind = row["source"]
    if kind in USER_SOURCES:
        names = {field.name for field in fields(USER_SOURCES[kind])} & set(_FLAT)
        source = {name: row[name] for name in names if name in row} | {"kind": kind}
    else:  # `digits`, `shapes`, or `shapes` at the location `individuals`.
        name = "_".join(part for part in (kind, row.get("location")) if part)
        source = {"kind": "function", "location": name}
    return {key: value for key, value in row.items() if key not in _FLAT} | {"source": source}


StoredDataset = Annotated[DatasetInfo, BeforeValidator(_nest_source)]
"""A DatasetInfo that pydantic also reads from the rows of earlier versions."""
