"""Where results come from, for every command that reads them: one table, however many places it lies in.

A place is a storage, a CSV table (`table_file`), what an MLflow server holds, or a published table
(`published:bob`). Several are united: who measured what stays known, and where two found different values of
one thing, that is reported and never averaged.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from raybench.analysis.merge import merge, require_no_conflict
from raybench.catalog.published import PublishedResults, published
from raybench.core.errors import EmptyInputError, UnknownNameError
from raybench.core.registry import suggest
from raybench.report.gather.table_file import SUFFIX, read_table
from raybench.store import ledger
from raybench.store.files import StoragePath, open_storage
from raybench.store.measurements import SCHEMA, measured_experiments, read_measurements

PREFIX = "published:"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place's results."""

    name: str
    """As the user wrote it."""
    measurements: pl.DataFrame
    """The measurement table, columns as `results.COLUMNS`."""
    specs: Sequence[Mapping[str, Any]] = ()
    """Specs as `ledger.load_spec` gives them, or as much of them as is known: `backbones` and `tasks`."""
    storage: StoragePath | None = None
    """Where ledger and predictions lie, if this place has them."""
    experiments: Sequence[str] = ()
    """Names of all its experiments, asked for or not."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What all places say together."""

    names: list[str]
    """The places."""
    measurements: pl.DataFrame
    """United; with `source` and `sources` (list) where there are several places."""
    specs: list[Mapping[str, Any]]
    storages: list[StoragePath]
    conflicts: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Identities with several values that a preferred place has decided; columns as `merge` gives them."""
    prefer: tuple[str, ...] = ()
    """Places that decide where values differ."""
    published: PublishedResults | None = None
    """The published table, in which case there are no measurements."""
    reference_tables: tuple[PublishedResults, ...] = ()
    """Published tables that were named among other places: shown beside them, never united with them."""
    notes: tuple[str, ...] = ()
    """How values came about that no run measured."""

    @property
    def experiments(self) -> list[str]:
        if self.published is not None:
            return [f"{PREFIX}{self.published.name}"]
        return self.measurements["experiment"].unique().sort().to_list()

    @property
    def expected(self) -> pl.DataFrame:
        """Every pair that the specs ask for: a backbone that failed everywhere left no measurement."""
        pairs = [(row["name"], task) for spec, row in self._rows() for task in spec.get("tasks", ())]
        return pl.DataFrame(pairs, schema={"backbone": pl.String, "task": pl.String}, orient="row").unique()

    @property
    def random_init(self) -> tuple[str, ...]:
        """Backbones without pretraining: those that the specs call so, and twins named `NAME.random`."""
        if self.published is not None:
            return tuple(b.backbone for b in self.published.backbones if b.pretrain_style == "none")
        said = {row["name"]: row.get("method") for _, row in self._rows()}
        found = {*said, *self.measurements["backbone"].unique()}
        return tuple(
            sorted(n for n in found if said.get(n) == "none" or (not said.get(n) and n.endswith(".random")))
        )

    def _rows(self) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        for spec in self.specs:
            for row in spec.get("backbones", ()):
                yield spec, row


def read_results(
    addresses: Sequence[str | StoragePath],
    *,
    experiment: str | None = None,
    prefer: Sequence[str] = (),
    extra: Sequence[Source] = (),
) -> Results:
    """Read every place and unite what they say.

    Args:
        addresses: storages, CSV tables, and `published:NAME`: ranked if it stands alone, else shown beside.
        experiment: only this one.
        prefer: names of places, the most trusted first, that decide where values differ.
        extra: places read already: what a tracking server holds.

    Raises:
        EmptyInputError: if nothing is measured there, or several published tables are named and nothing else.
        UnknownNameError: if there is no such experiment or published table.
        DuplicateMeasurementError: if two values of one thing differ, and no preferred place decides.
        StorageError: if a place cannot be read.
    """
    names = [str(address) for address in addresses]
    tables = [published(n.removeprefix(PREFIX)) for n in dict.fromkeys(names) if n.startswith(PREFIX)]
    places = [name for name in dict.fromkeys(names) if not name.startswith(PREFIX)]
    if tables and not places and not extra:
        return _alone(tables)
    sources = [*(_read(name, experiment) for name in places), *extra]
    if all(source.measurements.is_empty() for source in sources):
        raise _nothing(sources, experiment)
    measurements, conflicts = sources[0].measurements, pl.DataFrame()
    if len(sources) > 1:
        measurements, conflicts = merge({s.name: s.measurements for s in sources}, prefer=tuple(prefer))
        require_no_conflict(conflicts)
    elif prefer and prefer[0] != sources[0].name:
        raise EmptyInputError(f"no source {prefer[0]!r} to prefer; there is {sources[0].name} only.")
    return Results(
        names=[source.name for source in sources],
        measurements=measurements,
        specs=[spec for source in sources for spec in source.specs],
        storages=[source.storage for source in sources if source.storage is not None],
        conflicts=conflicts,
        prefer=tuple(prefer),
        reference_tables=tuple(tables),
    )


def _alone(tables: Sequence[PublishedResults]) -> Results:
    if len(tables) > 1:
        names = " and ".join(f"'{PREFIX}{table.name}'" for table in tables)
        raise EmptyInputError(f"{names} cannot be united; name one alone, or one's own results first.")
    nothing = pl.DataFrame(schema=SCHEMA)
    return Results(
        names=[tables[0].citation], measurements=nothing, specs=[], storages=[], published=tables[0]
    )


def _read(name: str, experiment: str | None) -> Source:
    if name.lower().endswith(SUFFIX) and not Path(name).is_dir():
        measurements, spec = read_table(Path(name))
        known = measurements["experiment"].unique().sort().to_list()
        if experiment is not None:
            measurements = measurements.filter(experiment=experiment)
        return Source(name=name, measurements=measurements, specs=[spec], experiments=known)
    storage = open_storage(name)
    measurements = read_measurements(storage, experiment)
    measured = measurements["experiment"].unique().sort().to_list()
    return Source(
        name=name,
        measurements=measurements,
        specs=[kept for found in measured if (kept := ledger.load_spec(storage, found))],
        storage=storage,
        experiments=sorted({*ledger.experiments(storage), *measured_experiments(storage)}),
    )


def _nothing(sources: Sequence[Source], experiment: str | None) -> EmptyInputError | UnknownNameError:
    places = ", ".join(repr(source.name) for source in sources)
    known = sorted({name for source in sources for name in source.experiments})
    if experiment is not None and experiment not in known:
        hint = suggest(experiment, known) or "."
        holds = "It holds" if len(sources) == 1 else "They hold"
        return UnknownNameError(
            f"no experiment {experiment!r} in {places}{hint} {holds} {', '.join(known) or 'none'}."
        )
    return EmptyInputError(
        f"nothing is measured in {places} yet; `raybench run` an experiment with this storage first."
    )
