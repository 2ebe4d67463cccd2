"""One flipped bit in any file of a storage: the same numbers, or an error that names the file and what to do.

`rank` and `report` never show other numbers in silence, and a run measures again what is damaged.
"""

import contextlib
import dataclasses
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.cli import main
from raybench.core.errors import DamagedResultError, RaybenchError
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import read_results
from raybench.store import ledger
from tests.damage.small_storage import run_in_process, table, write_costs, write_spec

torch.set_num_threads(1)
KINDS = {
    "measurements": "measurements/*/*.parquet",
    "predictions": "predictions/*/*.parquet",
    "values per query": "per_query/*/*.npz",
    "curves": "curves/*/*.json",
    "classifiers": "classifiers/*/*.safetensors",
    "search records": "experiments/*/trials/*-search-*.json",
    "final records": "experiments/*/trials/*-final-*.json",
    "spec": "experiments/*/spec.json",
    "identities": "experiments/*/identities/*.json",
    "importance": "experiments/*/importance.json",
    "recipes": "experiments/*/recipes/*.yaml",
    "costs": "costs/*.json",
    "image hashes": "image_hashes/*.json",
    "features": "features/*/*",
}
"""Kind of file → pattern below the storage."""

FLIPS = {
    "kind": st.sampled_from(sorted(KINDS)),
    "which": st.integers(0, 10**3),
    "position": st.integers(0, 10**7),
    "bit": st.integers(0, 7),
}
TOTALS: Counter[str] = Counter()


@dataclasses.dataclass
class Run:
    """A finished experiment, and what its readers give."""

    spec: Any
    storage: Path
    table: pl.DataFrame
    ranking: str
    report: Any


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("damage")
    spec, storage = write_spec(folder), folder / "storage"
    assert run_in_process(spec, storage) == []
    write_costs(storage)
    for kind, pattern in KINDS.items():
        assert list(storage.glob(pattern)), kind
    yield Run(spec, storage, table(storage), ranking(storage), report(storage))
    print(dict(TOTALS))


def ranking(storage: Path) -> str:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(["rank", str(storage), "--format", "json", "--intervals"])
    if code:
        raise RaybenchError(errors.getvalue())
    return output.getvalue()


def report(storage: Path) -> Any:
    return plain(gather(read_results([storage])))


def plain(value: Any) -> Any:
    """Everything that a report shows, as values that `==` compares."""
    if isinstance(value, pl.DataFrame):
        return value.to_dicts()
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return repr(value)


def flip(storage: Path, kind: str, which: int, position: int, bit: int) -> tuple[Path, bytes]:
    """Flip a bit of one file; returns the file and what it held."""
    files = sorted(path for path in storage.glob(KINDS[kind]) if path.is_file())
    path = files[which % len(files)]
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[position % len(content)] ^= 1 << bit
    path.write_bytes(bytes(damaged))
    return path, content


ADVICE = ("raybench run", "raybench cost", "remove", "restore")


def refusal(action: Callable[[], object]) -> str:
    """The text of a RaybenchError that the action raises; empty if it raises none."""
    try:
        action()
    except RaybenchError as error:
        return str(error)
    return ""


def check_readers(run: Run, **where: Any) -> None:
    def read() -> None:
        assert ranking(run.storage) == run.ranking, path
        assert report(run.storage) == run.report, path

    path, content = flip(run.storage, **where)
    try:
        message = refusal(read)
    finally:
        path.write_bytes(content)
    TOTALS["refused by rank or report" if message else "the same ranking and report"] += 1
    assert not message or (path.name in message and any(words in message for words in ADVICE)), message


def check_repair(run: Run, **where: Any) -> None:
    """Damage a copy and run again: the same table, or an error that names the file."""
    storage = run.storage.with_name("copy")
    shutil.rmtree(storage, ignore_errors=True)
    shutil.copytree(run.storage, storage)
    path, _ = flip(storage, **where)
    if where["kind"] in ("features", "image hashes", "identities"):  # Read by trials that are run again.
        for final in storage.glob("experiments/*/trials/*-final-*.json"):
            final.unlink()
    message = refusal(lambda: run_in_process(run.spec, storage))
    TOTALS["refused by a run" if message else "the same table after a run"] += 1
    if message:
        assert path.name in message
        assert where["kind"] in ("spec", "identities")
    else:
        assert table(storage).drop("provenance").equals(run.table.drop("provenance"))


@pytest.mark.parametrize("kind", KINDS)
def test_readers_notice_a_flipped_bit_of_every_kind_of_file(run, kind):
    for position in (0, 150, -40):
        check_readers(run, kind=kind, which=0, position=position, bit=0)


RESULTS = ("measurements", "predictions", "values per query", "curves")


@pytest.mark.parametrize("kind", RESULTS)
def test_a_deleted_results_file_is_named_and_measured_again(run, kind):
    storage = run.storage.with_name("copy")
    shutil.rmtree(storage, ignore_errors=True)
    shutil.copytree(run.storage, storage)
    path = sorted(storage.glob(KINDS[kind]))[0]
    path.unlink()
    message = refusal(lambda: report(storage))
    assert f"{str(path)!r} is missing, although its trial wrote it; `raybench run`" in message
    (note,) = run_in_process(run.spec, storage)
    assert note.startswith(f"{str(path)!r} is missing or damaged; trial")
    assert table(storage).equals(run.table)
    assert report(storage)["uncertainty"] == run.report["uncertainty"]
    assert run_in_process(run.spec, storage) == []


def test_of_results_without_checksums_only_missing_measurements_are_noticed(run):
    """As versions before checksums wrote them."""
    storage = run.storage.with_name("copy")
    shutil.rmtree(storage, ignore_errors=True)
    shutil.copytree(run.storage, storage)
    for record in ledger.read_records(storage, "small"):
        ledger.write_record(storage, dataclasses.replace(record, files={}))
    assert table(storage).equals(run.table)
    path = sorted(storage.glob(KINDS["measurements"]))[-1]
    path.unlink()
    with pytest.raises(DamagedResultError, match="is missing"):
        table(storage)
    run_in_process(run.spec, storage)
    assert table(storage).equals(run.table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_repairs_a_flipped_bit_of_every_kind_of_file(run, kind):
    check_repair(run, kind=kind, which=1, position=200, bit=1)


@given(**FLIPS)
@settings(max_examples=20)
def test_no_flipped_bit_changes_a_ranking_or_a_report_in_silence(run, **where):
    check_readers(run, **where)


@pytest.mark.slow
@pytest.mark.fuzz
@given(**FLIPS)
@settings(max_examples=1500)
def test_no_flipped_bit_changes_a_ranking_or_a_report_in_silence_at_length(run, **where):
    check_readers(run, **where)


@pytest.mark.slow
@pytest.mark.fuzz
@given(**FLIPS)
@settings(max_examples=300)
def test_after_any_flipped_bit_a_run_gives_the_same_table_at_length(run, **where):
    check_repair(run, **where)
