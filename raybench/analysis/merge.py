"""Merge measurement tables of several sources; conflicting values are reported and never averaged."""

from collections.abc import Mapping

import polars as pl

from raybench.core.errors import DuplicateMeasurementError, EmptyInputError

IDENTITY = ("backbone", "task", "split", "metric", "condition", "seed")
"""Columns that identify a measurement; source and experiment are provenance."""


def merge(
    sources: Mapping[str, pl.DataFrame], *, prefer: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep one row per identity, and list the conflicts.

    If several sources or experiments measured the same value of an identity, the first source's row is kept,
    and `sources` names all. If their values differ, the first source of `prefer` that has the identity
    decides; if there is none, or that source has two values itself, the identity is dropped.

    Args:
        sources: name (a lab, a storage) → measurement table; columns read: `IDENTITY`, value,
            experiment. Tables may have columns that others lack.
        prefer: names of sources, the most trusted first.

    Returns:
        The merged table, sorted by identity, with the columns `source` and `sources` (list); and the
        conflicts, one row per identity and distinct value: identity, value, sources, is_kept.

    Raises:
        EmptyInputError: if there is no table, or `prefer` names an unknown one.
    """
    if not sources:
        raise EmptyInputError("there is nothing to merge; name at least one table.")
    unknown = [name for name in prefer if name not in sources]
    if unknown:
        raise EmptyInputError(
            f"no source {', '.join(map(repr, unknown))} to prefer; there are {', '.join(sources)}."
        )
    trust = {name: rank for rank, name in enumerate((*prefer, *(n for n in sources if n not in prefer)))}
    rows = pl.concat(
        [frame.with_columns(source=pl.lit(name)) for name, frame in sources.items()],
        how="diagonal_relaxed",
    ).with_columns(_trust=pl.col("source").replace_strict(trust, return_dtype=pl.Int64))
    distinct = (
        rows.sort(*IDENTITY, "_trust", "experiment")
        .group_by(*IDENTITY, "value", maintain_order=True)
        .agg(
            pl.all().exclude("source", "_trust").first(),
            source=pl.col("source").first(),
            _trust=pl.col("_trust").first(),
            sources=pl.col("source").unique(maintain_order=True),
        )
        .with_columns(
            _rivals=pl.len().over(IDENTITY),
            _is_most_trusted=(pl.col("_trust") == pl.col("_trust").min().over(IDENTITY)),
        )
        .with_columns(_num_trusted=pl.col("_is_most_trusted").sum().over(IDENTITY))
    )
    is_decided = pl.col("_is_most_trusted") & (pl.col("_num_trusted") == 1) & (pl.col("_trust") < len(prefer))
    decided = distinct.with_columns(is_kept=(pl.col("_rivals") == 1) | is_decided)
    helpers = ["_trust", "_rivals", "_is_most_trusted", "_num_trusted"]
    merged = decided.filter("is_kept").drop(*helpers, "is_kept").sort(IDENTITY)
    conflicts = decided.filter(pl.col("_rivals") > 1).select(*IDENTITY, "value", "sources", "is_kept")
    return merged, conflicts.sort(*IDENTITY, "value")


def require_no_conflict(conflicts: pl.DataFrame) -> None:
    """Check that a preferred source decides every conflict.

    Raises:
        DuplicateMeasurementError: if one does not; the message has the first such identity and its values.
    """
    undecided = conflicts.filter(~pl.col("is_kept").any().over(IDENTITY))
    if undecided.is_empty():
        return
    first = undecided.row(0, named=True)
    rivals = undecided.filter(pl.all_horizontal(pl.col(name) == first[name] for name in IDENTITY))
    values = " but ".join(
        f"{value:g} in {', '.join(names)}" for value, names in rivals.select("value", "sources").iter_rows()
    )
    raise DuplicateMeasurementError(
        f"{first['metric']} of {first['backbone']!r} on {first['task']!r} (seed {first['seed']}, "
        f"{first['condition']}) is {values}; say which source to prefer, or leave one out."
    )
