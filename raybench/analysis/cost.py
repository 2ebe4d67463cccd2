"""Pareto front of scores and costs, and a short list of backbones under constraints, with reasons."""

from collections.abc import Mapping

import polars as pl

from raybench.core.errors import EmptyInputError, MissingMeasurementError
from raybench.core.records import Direction


def pareto_front(table: pl.DataFrame, objectives: Mapping[str, Direction]) -> pl.DataFrame:
    """Add `on_front`, and `dominated_by`: a backbone as good in all objectives and better in one, or null.

    Both are null for rows without a value of some objective. Equal rows are all on the front. If several
    backbones dominate a row, `dominated_by` is the first by name.

    Args:
        table: columns read: backbone and the objectives.
        objectives: column → direction, e.g. {"mean_zscore": "max", "params_m": "min"}.

    Raises:
        MissingMeasurementError: if an objective is not a column.
    """
    absent = [name for name in objectives if name not in table.columns]
    if absent or not objectives:
        raise MissingMeasurementError(
            f"no column {', '.join(map(repr, absent)) or 'named'} to weigh; "
            f"there are {', '.join(table.columns)}."
        )
    goods = table.select(
        "backbone",
        *(
            ((-1.0 if direction == "min" else 1.0) * pl.col(name).cast(pl.Float64)).alias(f"o{i}")
            for i, (name, direction) in enumerate(objectives.items())
        ),
    ).drop_nulls()
    names = [name for name in goods.columns if name != "backbone"]
    rivals = goods.rename({name: f"{name}_rival" for name in names} | {"backbone": "dominated_by"})
    dominated = (
        goods.join(rivals, how="cross")
        .filter(
            pl.all_horizontal(pl.col(f"{name}_rival") >= pl.col(name) for name in names)
            & pl.any_horizontal(pl.col(f"{name}_rival") > pl.col(name) for name in names)
        )
        .group_by("backbone")
        .agg(pl.col("dominated_by").min())
    )
    comparable = goods.select("backbone", is_known=pl.lit(value=True))
    return (
        table.join(comparable, on="backbone", how="left", maintain_order="left")
        .join(dominated, on="backbone", how="left", maintain_order="left")
        .with_columns(on_front=pl.when("is_known").then(pl.col("dominated_by").is_null()))
        .drop("is_known")
    )


def recommend(
    table: pl.DataFrame,
    *,
    at_most: Mapping[str, float] | None = None,
    at_least: Mapping[str, float] | None = None,
    top: int = 3,
    wins: pl.DataFrame | None = None,
    words: Mapping[str, tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """Best backbones within limits: rank, backbone, mean_zscore, reason, doubt, and the constrained columns.

    Args:
        table: columns read: backbone, mean_zscore and the constrained columns.
        at_most: column → largest value allowed, e.g. {"params_m": 30}.
        at_least: column → smallest value allowed, e.g. {"images_per_second": 500}.
        top: number of backbones to list.
        wins: `intervals.win_probabilities`, so that `doubt` says how often the backbone beats the next one.
        words: column → (name, unit) for the sentences; a column without an entry keeps its name.

    Raises:
        MissingMeasurementError: if a constrained quantity is unknown for all backbones.
        EmptyInputError: if no backbone meets the constraints; the message counts how many each one excludes.
    """
    limits = [(name, "at most", value) for name, value in (at_most or {}).items()]
    limits += [(name, "at least", value) for name, value in (at_least or {}).items()]
    for name, _, _ in limits:
        if name not in table.columns or table[name].null_count() == table.height:
            raise MissingMeasurementError(
                f"{name!r} was not measured for any backbone, so nothing can meet it."
            )
    meets = {limit: _meets(limit) for limit in limits}
    allowed = table.filter(pl.all_horizontal(*meets.values())) if limits else table
    ranked = allowed.drop_nulls("mean_zscore").sort(["mean_zscore", "backbone"], descending=[True, False])
    if ranked.is_empty():
        raise EmptyInputError(_why_none(table, meets, words or {}))
    unknown = [
        f"{(words or {}).get(name, (name, ''))[0]} of {table[name].null_count()}"
        for name, _, _ in limits
        if table[name].null_count() > 0
    ]
    rows = []
    shortlist = ranked.head(top).to_dicts()
    for index, row in enumerate(shortlist):
        rival = ranked.row(index + 1, named=True) if index + 1 < ranked.height else None
        rows.append(
            {
                "rank": index + 1,
                "backbone": row["backbone"],
                "mean_zscore": row["mean_zscore"],
                "reason": _reason(row, index, ranked.height, limits, words or {}),
                "doubt": _uncertainty(row, rival, wins, unknown if index == 0 else []),
                **{name: row[name] for name, _, _ in limits},
            }
        )
    return pl.DataFrame(rows)


def _meets(limit: tuple[str, str, float]) -> pl.Expr:
    name, side, value = limit
    column = pl.col(name)
    return (column <= value if side == "at most" else column >= value).fill_null(value=False)


def _why_none(
    table: pl.DataFrame,
    meets: Mapping[tuple[str, str, float], pl.Expr],
    words: Mapping[str, tuple[str, str]],
) -> str:
    """Count how many backbones each limit excludes, the strictest first."""
    if not meets or table.drop_nulls("mean_zscore").is_empty():
        return "no backbone has a score, so none can be recommended."
    excluded = {limit: table.filter(~expression).height for limit, expression in meets.items()}
    clauses = []
    for (name, side, value), count in sorted(excluded.items(), key=lambda item: -item[1]):
        num_unknown = table[name].null_count()
        of_them = f" ({num_unknown} because it is not known)" if num_unknown else ""
        word, unit = words.get(name, (name, ""))
        clauses.append(f"{word} {side} {' '.join([f'{value:g}', unit]).strip()} excludes {count}{of_them}")
    return (
        f"no backbone meets all limits: of {table.height}, {', '.join(clauses)}; loosen the first one first."
    )


def _reason(
    row: Mapping[str, object],
    index: int,
    num_allowed: int,
    limits: list[tuple[str, str, float]],
    words: Mapping[str, tuple[str, str]],
) -> str:
    position = "best" if index == 0 else f"number {index + 1}"
    named = [(*words.get(name, (name, "")), row[name], side, value) for name, side, value in limits]
    limit_texts = ", ".join(
        f"{word} {' '.join([f'{measured:g}', unit]).strip()} ({side} {limit:g})"
        for word, unit, measured, side, limit in named
    )
    among = f"{position} of {num_allowed} by mean z-score {row['mean_zscore']:+.2f}"
    return f"{among}; {limit_texts}" if limit_texts else among


def _uncertainty(
    row: Mapping[str, object],
    rival: Mapping[str, object] | None,
    wins: pl.DataFrame | None,
    unknown: list[str],
) -> str:
    parts = []
    if rival is None:
        parts.append("nobody else meets the constraints")
    else:
        probability = None
        if wins is not None:
            probability = wins.filter(backbone=row["backbone"], other=rival["backbone"])["probability"]
        if probability is not None and probability.len():
            share = f"{100 * probability[0]:.0f} %"
            parts.append(f"beats {rival['backbone']} in {share} of bootstrap replicates")
        else:
            parts.append(f"no bootstrap: whether it truly beats {rival['backbone']} is not known")
    if unknown:
        parts.append(f"left out because it is not known: {', '.join(unknown)}")
    return "; ".join(parts)
