"""A metric that finished trials lack is computed from their predictions, or the message says what to do."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from raybench.cli import main
from raybench.core.errors import EmptyInputError, MissingMeasurementError, OutOfBoundsError
from raybench.core.records import TrialRequest
from raybench.metrics import METRICS, ArrayMetric, PerExampleMean, WeightedFunction
from raybench.report.gather.computed_metrics import compute_missing
from raybench.report.gather.criteria import Criterion
from raybench.report.gather.limits import Limits
from raybench.report.gather.ranking import rank_results
from raybench.report.gather.recommendation import recommend_from
from raybench.report.gather.report_data import gather
from raybench.report.gather.sources import Results, read_results
from raybench.spec import load_spec
from raybench.store import ledger
from raybench.store.tables import write_table
from raybench.worker.trial import Trial

BACKBONES = ("mini_resnet.random", "mini_vit.random")
SPEC = f"""
name: small
backbones: [{", ".join(BACKBONES)}]
tasks: [knn@drawn, retrieval@drawn]
datasets: {{drawn: {{folder: drawn}}}}
budget: smoke
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """Final trials of two backbones on 48 test images of 3 classes, two seeds each, as workers leave them."""
    folder = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 16)):
        for shade, name in ((100, "dark"), (110, "grey"), (120, "light")):
            images = folder / "drawn" / split / name
            images.mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(0, 256, (32, 32, 3)) // 2 + shade
                Image.fromarray(noise.astype(np.uint8)).save(images / f"{i}.png")
    (folder / "small.yaml").write_text(SPEC)
    spec = load_spec(folder / "small.yaml")
    ledger.save_spec(folder / "storage", spec.name, spec.to_dict())
    for pair in spec.pairs():
        for seed in (0, 1):
            request = TrialRequest(
                experiment=spec.name, pair=pair, stage="final", index=0, hparams={}, seed=seed, max_epochs=1
            )
            trial = Trial(request, spec, folder / "storage", device="cpu", num_threads=1)
            while not trial.step().is_done:
                pass
    return folder / "storage"


@pytest.fixture
def without_nll(storage, tmp_path) -> Path:
    """The same storage as if `nll` had not been a metric when it was made."""
    copy = tmp_path / "storage"
    shutil.copytree(storage, copy)
    for file in copy.glob("measurements/*/*.parquet"):
        write_table(file, pl.read_parquet(file).filter(pl.col("metric") != "nll"))
    for record in ledger.read_records(copy, "small"):
        ledger.write_record(copy, replace(record, files={}))  # As of versions without checksums.
    return copy


@pytest.fixture
def add_metric(monkeypatch):
    """Register a metric of logits and targets for one test, as a plug-in does that is installed later."""

    def add(compute, resampling, *, name="added", bounds=(0.0, 1.0)) -> None:
        metric = ArrayMetric(
            name=name, compute=compute, direction="max", bounds=bounds, resampling=resampling, doc="Added."
        )
        monkeypatch.setitem(METRICS._entries, name, metric)

    return add


def files_of(storage: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in storage.rglob("*") if file.is_file()}


def test_values_are_those_that_the_run_would_have_stored_to_the_last_bit(storage, without_nll):
    before = files_of(without_nll)
    criterion = Criterion(metric="nll", tasks=("knn@*",))
    found = rank_results(read_results([without_nll]), criterion)
    measured = rank_results(read_results([storage]), criterion)
    assert found.ranked.equals(measured.ranked)
    assert measured.notes == []
    assert found.notes == [
        "nll was not measured when 4 of the final trials ran; it is computed from their stored predictions."
    ]
    assert files_of(without_nll) == before


def test_rows_have_the_identity_of_their_trials(storage, without_nll):
    results = compute_missing(read_results([without_nll]), Criterion(metric="nll"))
    measured = read_results([storage]).measurements.filter(metric="nll", split="test")
    assert results.measurements.filter(metric="nll").equals(measured)
    assert compute_missing(results, Criterion(metric="nll")) is results


def test_only_trials_that_lack_the_metric_are_computed(storage, without_nll):
    half = read_results([storage]).measurements.filter(
        (pl.col("metric") != "nll") | (pl.col("backbone") == BACKBONES[0])
    )
    results = replace(read_results([without_nll]), measurements=half)
    completed = compute_missing(results, Criterion(metric="nll"))
    assert completed.notes[0].startswith("nll was not measured when 2 of the final trials ran")
    added = completed.measurements.join(half, on=half.columns, how="anti")
    assert added["backbone"].unique().to_list() == [BACKBONES[1]]


def test_a_metric_registered_later_is_ranked_with_intervals_of_its_examples(without_nll, add_metric):
    def probability_of_truth(logits, targets):
        return np.exp(np.take_along_axis(logits, targets[:, None], axis=1)[:, 0].astype(np.float64))

    def root_mean_square(logits, targets):
        squares = probability_of_truth(logits, targets) ** 2
        return WeightedFunction(len(targets), lambda w: float(np.sqrt(w @ squares / w.sum())))

    add_metric(
        lambda logits, targets: float(np.sqrt(np.mean(probability_of_truth(logits, targets) ** 2))),
        root_mean_square,
    )
    criterion = Criterion(metric="added", tasks=("knn@drawn",))
    results = read_results([without_nll])
    found = rank_results(results, criterion, with_intervals=True)
    assert "resample test examples" in found.uncertainty_note
    assert "Seeds only" not in found.uncertainty_note
    cells = found.ranked
    assert (cells["low"] < cells["value"]).all()
    assert (cells["value"] < cells["high"]).all()
    assert gather(results, criterion).uncertainty.note == found.uncertainty_note
    note = "added was not measured when 4 of the final trials ran"
    assert any(text.startswith(note) for text in recommend_from(results, Limits(), criterion).notes)


def test_the_command_line_says_where_the_values_come_from(without_nll, capsys):
    assert main(["rank", str(without_nll), "--metric", "brier", "--task", "knn@*"]) == 0
    assert "brier was not measured when 4 of the final trials ran" in capsys.readouterr().out


def test_what_no_prediction_tells_is_refused_with_what_to_do(storage):
    results = read_results([storage])
    with pytest.raises(
        MissingMeasurementError,
        match=r"2 of 4 pairs have no score: .*@drawn'; rank tasks whose predictions are stored \(`--task`\)",
    ):
        rank_results(results, Criterion(metric="nll"))
    with pytest.raises(EmptyInputError, match="add the evaluator 'ood' to the spec and run it again"):
        rank_results(results, Criterion(metric="ood_auroc"))
    with pytest.raises(MissingMeasurementError, match=r"'knn@drawn'; run .*: retrieval measures map only"):
        rank_results(results, Criterion(metric="map"))


def test_a_pair_that_never_ran_is_to_be_run(storage):
    results = read_results([storage])
    lost = results.measurements.filter((pl.col("backbone") != BACKBONES[0]) | (pl.col("task") != "knn@drawn"))
    with pytest.raises(MissingMeasurementError, match="'knn@drawn'; run them again"):
        rank_results(replace(results, measurements=lost), Criterion(metric="accuracy", tasks=("knn@*",)))


def test_a_value_outside_the_bounds_of_its_metric_is_refused(storage, add_metric):
    add_metric(lambda logits, targets: 2.0, PerExampleMean)
    with pytest.raises(OutOfBoundsError, match="test/added of 'mini_resnet"):
        compute_missing(read_results([storage]), Criterion(metric="added"))


def test_united_sources_are_completed_once_per_identity(storage, without_nll):
    results = read_results([without_nll, storage])
    assert compute_missing(results, Criterion(metric="nll")) is results  # The other source has measured it.
    completed = compute_missing(results, Criterion(metric="brier"))
    rows = completed.measurements.filter(metric="brier")
    assert rows.height == 4
    assert rows["sources"].to_list() == [[str(without_nll), str(storage)]] * 4


@pytest.mark.parametrize(
    "criterion",
    [Criterion(), Criterion(metric="nll", condition="fog(severity=3)"), Criterion(metric="map")],
    ids=["objectives", "another condition", "not of logits"],
)
def test_nothing_is_computed_unless_predictions_answer(without_nll, criterion):
    results: Results = read_results([without_nll])
    assert compute_missing(results, criterion) is results
