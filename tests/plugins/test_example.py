"""A package of one's own adds one row of each kind, which are listed, planned and measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.installed import EXAMPLE, install, write_distribution
from tests.processes import DEADLINE_SECONDS

ADDED = {
    "backbones": ["colour_grid.none"],
    "datasets": ["tiny_digits"],
    "protocols": ["nearest_mean"],
    "evaluators": ["margin"],
    "metrics": ["top3_accuracy", "mean_margin"],
}
SPEC = """
name: added
backbones: [colour_grid.none, mini_resnet.random]
tasks: [nearest_mean@tiny_digits, knn@tiny_digits]
budget: smoke
evaluators: [margin, calibration]
"""
TRIAL = """
import json, sys
from pathlib import Path
from raybench.core.records import TrialRequest
from raybench.spec import load_spec
from raybench.store import ledger
from raybench.store.measurements import read_measurements
from raybench.worker.trial import Trial

spec, storage = load_spec(Path(sys.argv[1])), Path(sys.argv[2])
for pair in spec.pairs():
    if "nearest_mean" in str(pair.task):
        request = TrialRequest(
            experiment=spec.name, pair=pair, stage="final", index=0, hparams={}, seed=0, max_epochs=1
        )
        trial = Trial(request, spec, storage, device="cpu", num_threads=1)
        while not trial.step().is_done:
            pass
        record = ledger.read_record(storage, spec.name, request.trial_id)
        assert record.status == "completed", record.reason
frame = read_measurements(storage)
print(json.dumps(frame.select("backbone", "split", "metric", "value").rows()))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder on the path with the example installed."""
    folder = tmp_path_factory.mktemp("site")
    install(EXAMPLE, folder)
    return folder


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("kind", ADDED)
def test_its_rows_are_listed_with_their_origin(site, kind):
    done = python(site, "-m", "raybench.cli", "list", kind, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    origins = {row["name"]: row["origin"] for row in json.loads(done.stdout)}
    added = [name for name, origin in origins.items() if origin == "tiny-plugin 0.1"]
    assert added == ADDED[kind]
    assert {origins[name] for name in origins if name not in added} == {"raybench"}


def test_listing_with_a_plugin_imports_no_heavy_library(site):
    code = (
        "import sys; from raybench.catalog.listing import LISTINGS\n"
        "for rows in LISTINGS.values(): rows()\n"
        "assert 'tiny_plugin.rows' in sys.modules\n"
        "print([m for m in ('torch', 'timm', 'numpy', 'polars') if m in sys.modules])"
    )
    assert python(site, "-c", code).stdout.strip() == "[]"


def test_its_names_are_planned_measured_and_reported(site, tmp_path):
    spec = tmp_path / "added.yaml"
    spec.write_text(SPEC)
    plan = python(site, "-m", "raybench.cli", "plan", str(spec))
    assert plan.returncode == 0, plan.stderr
    assert "2 backbones × 2 tasks = 4 pairs" in plan.stdout
    done = python(site, "-c", TRIAL, str(spec), str(tmp_path / "storage"))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    values = {(backbone, metric): value for backbone, split, metric, value in rows if split == "test"}
    for backbone in ("colour_grid.none", "mini_resnet.random"):
        assert 0.5 < values[backbone, "accuracy"] < values[backbone, "top3_accuracy"] <= 1.0
        assert values[backbone, "mean_margin"] > 0
        assert (backbone, "ece") in values

    report = tmp_path / "report.html"
    options = ["--allow-missing", "-o", str(report)]
    done = python(site, "-m", "raybench.cli", "report", str(tmp_path / "storage"), *options)
    assert done.returncode == 0, done.stderr
    section = report.read_text().partition('id="evaluator-margin"')[2].partition("</section>")[0]
    assert "mean_margin (higher is better)" in section
    assert "Margins on test: all tasks, first seed, all backbones." in section


def test_without_the_package_its_names_are_unknown(tmp_path):
    spec = tmp_path / "added.yaml"
    spec.write_text(SPEC)
    plan = python(tmp_path, "-m", "raybench.cli", "plan", str(spec))
    assert plan.returncode == 2
    assert "unknown backbone 'colour_grid.none'" in plan.stderr
    assert "Traceback" not in plan.stderr


def test_a_broken_package_is_named_and_raybench_goes_on(tmp_path):
    write_distribution(
        tmp_path, "half-a-plugin", "0.3", {"raybench.backbones": {"rows": "half_a_plugin:ROWS"}}
    )
    done = python(tmp_path, "-m", "raybench.cli", "list", "backbones")
    assert done.returncode == 0
    assert "mini_vit.mae" in done.stdout
    assert done.stderr.startswith("raybench: the plug-in half-a-plugin 0.3 cannot be loaded: ")
    assert "No module named 'half_a_plugin'" in done.stderr
    assert "Traceback" not in done.stderr
    spec = tmp_path / "known.yaml"
    spec.write_text("{name: known, backbones: [mini_vit.mae], tasks: [knn@digits], budget: smoke}")
    plan = python(tmp_path, "-m", "raybench.cli", "plan", str(spec))
    assert plan.returncode == 0
    assert "note            the plug-in half-a-plugin 0.3 cannot be loaded" in plan.stdout
    spec.write_text("{name: new, backbones: [half.new], tasks: [knn@digits], budget: smoke}")
    plan = python(tmp_path, "-m", "raybench.cli", "plan", str(spec))
    assert plan.returncode == 2
    assert "unknown backbone 'half.new'" in plan.stderr
    assert "Note: the plug-in half-a-plugin 0.3 cannot be loaded" in plan.stderr
