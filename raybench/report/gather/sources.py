"""Read the results of one or several sources into one measurement table.

A source is a storage, a CSV table (`table_file`), an MLflow server, or a published table (`published:bob`).
Several are merged: each row names its sources, and different values of one measurement are reported, never
averaged.
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
    """The results of one source."""

    name: str
    """Address as the user wrote it."""
    measurements: pl.DataFrame
    """The measurement table, columns as `store.measurements.SCHEMA`."""
    specs: Sequence[Mapping[str, Any]] = ()
    """Specs as `ledger.load_spec` gives them, or only their `backbones` and `tasks`."""
    storage: StoragePath | None = None
    """The storage with ledger and predictions; None for tables."""
    experiments: Sequence[str] = ()
    """Names of all its experiments, whether selected or not."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The merged results of all sources."""

    names: list[str]
    """Names of the sources."""
    measurements: pl.DataFrame
    """Merged table; with `source` and `sources` (list) if there are several sources."""
    specs: list[Mapping[str, Any]]
    storages: list[StoragePath]
    conflicts: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Measurements with different values, decided by a preferred source; columns as `merge` gives them."""
    prefer: tuple[str, ...] = ()
    """Sources that decide where values differ."""
    published: PublishedResults | None = None
    """A published table as the only source; there are no measurements then."""
    reference_tables: tuple[PublishedResults, ...] = ()
    """Published tables named together with other sources: compared with them, never merged."""
    machine: str = ""
    """Of whose throughputs a published table has several, the one to use."""
    notes: tuple[str, ...] = ()
    """Notes on values that no run measured but that were computed from stored outputs."""

    @property
    def experiments(self) -> list[str]:
        if self.published is not None:
            return [f"{PREFIX}{self.published.name}"]
        return self.measurements["experiment"].unique().sort().to_list()

    @property
    def expected(self) -> pl.DataFrame:
        """Every pair of the specs, so that backbones without any measurement are included."""
        pairs = [(row["name"], task) for spec, row in self._rows() for task in spec.get("tasks", ())]
        return pl.DataFrame(pairs, schema={"backbone": pl.String, "task": pl.String}, orient="row").unique()

    @property
    def random_init(self) -> tuple[str, ...]:
        """Backbones without pretraining: `method: none` in a spec, or no method and a name `….random`."""
        if self.published is not None:
            return tuple(b.backbone for b in self.published.backbones if b.pretrain_style == "none")
        methods = {row["name"]: row.get("method") for _, row in self._rows()}
        names = {*methods, *self.measurements["backbone"].unique()}
        return tuple(
            name
            for name in sorted(names)
            if methods.get(name) == "none" or (not methods.get(name) and name.endswith(".random"))
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
    """Read every source and merge their measurements.

    Args:
        addresses: storages, CSV tables, and `published:NAME`: ranked if alone, else compared with.
        experiment: only this one.
        prefer: names of sources, the most trusted first, that decide where values differ.
        extra: sources read already, from a tracking server.

    Raises:
        EmptyInputError: if nothing is measured, or several published tables are named and nothing else.
        UnknownNameError: if there is no such experiment or published table.
        DuplicateMeasurementError: if values of one measurement differ, and no preferred source decides.
        StorageError: if a source cannot be read.
    """
    names = [str(address) for address in addresses]
    tables = [published(n.removeprefix(PREFIX)) for n in dict.fromkeys(names) if n.startswith(PREFIX)]
    readable = [name for name in dict.fromkeys(names) if not name.startswith(PREFIX)]
    if tables and not readable and not extra:
        return _published_alone(tables)
    sources = [*(_read(name, experiment) for name in readable), *extra]
    if all(source.measurements.is_empty() for source in sources):
        raise _no_measurement(sources, experiment)
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


def _published_alone(tables: Sequence[PublishedResults]) -> Results:
    if len(tables) > 1:
        names = " and ".join(f"'{PREFIX}{table.name}'" for table in tables)
        raise EmptyInputError(f"{names} cannot be merged; name one alone, or together with own results.")
    empty = pl.DataFrame(schema=SCHEMA)
    return Results(names=[tables[0].citation], measurements=empty, specs=[], storages=[], published=tables[0])


def _read(name: str, experiment: str | None) -> Source:
    if name.lower().endswith(SUFFIX) and not Path(name).is_dir():
        measurements, spec = read_table(Path(name))
        experiments = measurements["experiment"].unique().sort().to_list()
        if experiment is not None:
            measurements = measurements.filter(experiment=experiment)
        return Source(name=name, measurements=measurements, specs=[spec], experiments=experiments)
    storage = open_storage(name)
    measurements = read_measurements(storage, experiment)
    measured = measurements["experiment"].unique().sort().to_list()
    return Source(
        name=name,
        measurements=measurements,
        specs=[stored for name in measured if (stored := ledger.load_spec(storage, name))],
        storage=storage,
        experiments=sorted({*ledger.experiments(storage), *measured_experiments(storage)}),
    )


def _no_measurement(sources: Sequence[Source], experiment: str | None) -> EmptyInputError | UnknownNameError:
    names = ", ".join(repr(source.name) for source in sources)
    experiment_names = sorted({name for source in sources for name in source.experiments})
    if experiment is not None and experiment not in experiment_names:
        hint = suggest(experiment, experiment_names) or "."
        holds = "It holds" if len(sources) == 1 else "They hold"
        return UnknownNameError(
            f"no experiment {experiment!r} in {names}{hint} {holds} {', '.join(experiment_names) or 'none'}."
        )
    return EmptyInputError(
        f"nothing is measured in {names} yet; `raybench run` an experiment with this storage first."
    )
