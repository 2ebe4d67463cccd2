"""Several measurement tables → one, with provenance; conflicts are reported and never averaged."""

from collections.abc import Mapping

import polars as pl

from raybench.core.errors import DuplicateMeasurementError, EmptyInputError

IDENTITY = ("backbone", "task", "split", "metric", "condition", "seed")
"""What was measured; who measured it (the source, the experiment) is provenance."""


def merge(
    sources: Mapping[str, pl.DataFrame], *, prefer: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row per identity, and the report of conflicts.

    Where several sources or experiments measured one identity and found the same value, the first source's
    row is kept, and `sources` names all. Where they differ, the first source of `prefer` that has it decides;
    if none does, or that source contradicts itself, the identity is left out of the merged table.

    Args:
        sources: name (a lab, a storage) → measurement table; columns read: `IDENTITY`, value,
            experiment. Tables may have columns that others lack.
        prefer: names of sources, the most trusted first.

    Returns:
        The merged table, with `source` and `sources` (list) added, sorted by identity; and the conflicts, one
        row per identity and distinct value: identity, value, sources, is_kept.

    Raises:
        EmptyInputError: if there is no table, or `prefer` names one that is not there.
    """
    if not sources:
        raise EmptyInputError("there is nothing to merge; name at least one table.")
    strangers = [name for name in prefer if name not in sources]
    if strangers:
        raise EmptyInputError(
            f"no source {', '.join(map(repr, strangers))} to prefer; there are {', '.join(sources)}."
        )
    trust = {name: place for place, name in enumerate((*prefer, *(n for n in sources if n not in prefer)))}
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
    judged = distinct.with_columns(is_kept=(pl.col("_rivals") == 1) | is_decided)
    helpers = ["_trust", "_rivals", "_is_most_trusted", "_num_trusted"]
    merged = judged.filter("is_kept").drop(*helpers, "is_kept").sort(IDENTITY)
    conflicts = judged.filter(pl.col("_rivals") > 1).select(*IDENTITY, "value", "sources", "is_kept")
    return merged, conflicts.sort(*IDENTITY, "value")


def require_no_conflict(conflicts: pl.DataFrame) -> None:
    """Pass if every conflict was decided.

    Raises:
        DuplicateMeasurementError: naming the first identity that no preferred source decides, and its values.
    """
    open_ones = conflicts.filter(~pl.col("is_kept").any().over(IDENTITY))
    if open_ones.is_empty():
        return
    first = open_ones.row(0, named=True)
    rivals = open_ones.filter(pl.all_horizontal(pl.col(name) == first[name] for name in IDENTITY))
    found = " but ".join(
        f"{value:g} in {', '.join(names)}" for value, names in rivals.select("value", "sources").iter_rows()
    )
    raise DuplicateMeasurementError(
        f"{first['metric']} of {first['backbone']!r} on {first['task']!r} (seed {first['seed']}, "
        f"{first['condition']}) is {found}; say which source to prefer, or leave one out."
    )
