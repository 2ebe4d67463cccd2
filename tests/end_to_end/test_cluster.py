"""A complete deployment on this machine: two Ray nodes, PostgreSQL, MLflow, S3, and a submitted job.

The tests use it as a user does: `ray job` for jobs, MLflow's REST API and a browser for runs.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Page

from raybench.tracking import rebuild
from raybench.tracking.shared_view import WORKFLOW
from tests.end_to_end.browser import chromium, open_page
from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.servers import BUCKET, MlflowServer, mlflow_server
from tests.end_to_end.small_experiment import NUM_TRIALS, SPEC, measurements, num_records
from tests.processes import DEADLINE_SECONDS, descendants, wait_until

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
JOB = "raybench-small"


@dataclass
class Submitted:
    """A finished job, and where its results are."""

    server: MlflowServer
    storage: Path
    exit_code: int
    output: str
    log: str
    """Output of `ray job logs`, without the lines of Ray's own command."""
    secrets: tuple[str, ...] = field(repr=False)

    def request(self, path: str, **content: Any) -> dict[str, Any]:
        """MLflow's response to one request of its REST API."""
        message = urllib.request.Request(
            f"{self.server.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(message, timeout=DEADLINE_SECONDS) as response:
            return json.load(response)

    def runs(self, experiment: str = "small") -> list[dict[str, Any]]:
        """Every active run of an experiment: id, name, status, tags, metrics."""
        experiments = self.request("experiments/search", max_results=10)["experiments"]
        experiment_id = next(e["experiment_id"] for e in experiments if e["name"] == experiment)
        runs = self.request("runs/search", experiment_ids=[experiment_id], max_results=1000)["runs"]
        return [
            {
                "id": run["info"]["run_id"],
                "experiment": experiment_id,
                "name": run["info"]["run_name"],
                "status": run["info"]["status"],
                "tags": {tag["key"]: tag["value"] for tag in run["data"]["tags"]},
                "metrics": {m["key"]: m["value"] for m in run["data"].get("metrics", [])},
            }
            for run in runs
        ]

    def runs_of(self, kind: str) -> list[dict[str, Any]]:
        return [run for run in self.runs() if run["tags"]["raybench.kind"] == kind]


def working_folder(folder: Path) -> Path:
    """A copy of the package and two experiments that differ only in their names."""
    shutil.copytree(PROJECT / "raybench", folder / "raybench", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "experiments").mkdir()
    (folder / "experiments" / "small.yaml").write_text(SPEC)
    (folder / "experiments" / "drill.yaml").write_text(SPEC.replace("name: small", "name: drill"))
    return folder


@dataclass
class Deployment:
    """The running servers, and the folder from which jobs are submitted."""

    server: MlflowServer
    cluster: RealCluster
    folder: Path

    def submit(self, job: str, spec: str, storage: Path, *options: str) -> CompletedProcess[str]:
        """Submit a job with the README's command."""
        command = ["raybench", "run", f"experiments/{spec}", "--storage", str(storage)]
        arguments = ["--working-dir", ".", f"--submission-id={job}"]
        return self.cluster.job("submit", *arguments, *options, "--", *command, cwd=self.folder)

    def log(self, job: str) -> str:
        return self.cluster.job("logs", job).stdout.partition("Running entrypoint")[2].partition("\n")[2]

    def wait(self, job: str, status: str) -> None:
        """Wait until Ray reports the job as `succeeded` or `failed`."""

        def has_status() -> bool:
            return f"Job '{job}' {status}" in self.cluster.job("status", job).stdout

        wait_until(has_status, f"job {job} {status}", pause=1)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory) -> Iterator[Deployment]:
    folder = working_folder(tmp_path_factory.mktemp("checkout"))
    with mlflow_server() as server, RealCluster(with_jobs=True, MLFLOW_TRACKING_URI=server.uri) as cluster:
        cluster.add_node()
        yield Deployment(server, cluster, folder)


@pytest.fixture(scope="module")
def submitted(deployment, tmp_path_factory) -> Submitted:
    storage = tmp_path_factory.mktemp("storage")
    job = deployment.submit(JOB, "small.yaml", storage)
    server = deployment.server
    password = server.database.partition("mlflow:")[2].partition("@")[0]
    secrets = (password, deployment.cluster.environment["RAY_AUTH_TOKEN"])
    output = job.stdout + job.stderr
    return Submitted(server, storage, job.returncode, output, deployment.log(JOB), secrets)


def test_a_submitted_job_measures_the_same_as_a_local_run(submitted, finished):
    assert submitted.exit_code == 0, submitted.output
    assert measurements(submitted.storage).equals(measurements(finished))


def test_the_jobs_log_is_plain_lines_with_the_progress(submitted):
    assert "\x1b" not in submitted.log
    assert "\r" not in submitted.log
    lines = submitted.log.splitlines()
    progress = [line for line in lines if re.search(r"\d+/20 trials; \d+:\d\d", line)]
    assert progress[0].startswith("4 pairs: 0 done")
    assert len([line for line in progress if line.startswith("done ")]) == 4
    assert "4 done" in progress[-1]
    assert "20/20 trials" in progress[-1]
    assert any(line.startswith("rank  backbone") for line in lines), "the ranking"
    # Without Ray's own output: node and process ids, tables of trials, deprecation warnings.
    assert not [line for line in lines if re.search(r"pid=|Warning|Trial name|INFO", line)], submitted.log


def test_the_log_has_the_url_of_the_runs(submitted):
    assert f"tracking  {submitted.server.uri}/#/experiments/" in submitted.log


def test_mlflow_has_every_trial_once_below_its_pair(submitted):
    kinds = Counter(run["tags"]["raybench.kind"] for run in submitted.runs())
    assert kinds == {"pair": 4, "trial": NUM_TRIALS, "summary": 1}
    pairs = {run["id"]: run for run in submitted.runs_of("pair")}
    trials = submitted.runs_of("trial")
    assert len({run["tags"]["raybench.trial_id"] for run in trials}) == NUM_TRIALS
    children = Counter(run["tags"]["mlflow.parentRunId"] for run in trials)
    assert children == dict.fromkeys(pairs, 3 + 2)
    assert {run["status"] for run in submitted.runs()} == {"FINISHED"}
    for run in trials:
        assert run["tags"]["task"] == pairs[run["tags"]["mlflow.parentRunId"]]["tags"]["task"]


def test_mlflow_has_every_trials_objective_and_the_measured_measurements(submitted):
    for run in submitted.runs_of("trial"):
        assert 0 < run["metrics"]["val/accuracy"] <= 1
        assert ("test/accuracy" in run["metrics"]) == (run["tags"]["raybench.stage"] == "final")
    table = measurements(submitted.storage).filter(pl.col("metric") == "accuracy", pl.col("split") == "test")
    means = table.group_by("backbone", "task").agg(pl.col("value").mean())
    shown = {
        (run["tags"]["backbone"], run["tags"]["task"]): run["metrics"]["test/accuracy"]
        for run in submitted.runs_of("pair")
    }
    assert shown == pytest.approx({(backbone, task): value for backbone, task, value in means.iter_rows()})


def test_artifacts_are_in_the_bucket(submitted):
    with urllib.request.urlopen(
        f"{submitted.server.s3_address}/{BUCKET}?list-type=2", timeout=DEADLINE_SECONDS
    ) as response:
        listing = response.read().decode()
    summary = submitted.runs_of("summary")[0]["id"]
    for name in ("report.html", "ranking.csv", "ranking.md"):
        assert re.search(rf"<Key>mlflow/\d+/{summary}/artifacts/{re.escape(name)}</Key>", listing), listing


def test_the_ranking_read_from_mlflow_equals_that_of_the_storage(submitted):
    sources = ([str(submitted.storage)], ["--tracking-uri", submitted.server.uri, "--experiment", "small"])
    rankings = []
    for source in sources:
        command = [sys.executable, "-m", "raybench.cli", "rank", *source, "--format", "csv"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        rankings.append(done.stdout)
    assert rankings[0].count("\n") == 1 + 2
    assert rankings[1] == rankings[0]


def test_no_secret_is_in_the_log_the_runs_or_the_storage(submitted):
    written = [submitted.log, submitted.output, json.dumps(submitted.runs())]
    written += [p.read_bytes().decode("latin-1") for p in submitted.storage.rglob("*") if p.is_file()]
    for secret in submitted.secrets:
        assert len(secret) > 20
        assert not any(secret in text for text in written)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1500, "height": 900})


def test_the_ui_opens_on_pairs_sorted_by_the_objective(submitted, page, tmp_path):
    address = re.search(r"^tracking  (\S+)$", submitted.log, re.MULTILINE).group(1)
    best_first = sorted(submitted.runs_of("pair"), key=lambda run: -run["metrics"]["test/accuracy"])
    names = [run["name"] for run in best_first]
    measured = [str(run["metrics"]["test/accuracy"])[:10] for run in best_first]
    texts = ("4 matching runs", "test/accuracy", *names, *measured)
    shown = open_page(page, address, *texts, screenshot=tmp_path / "table.png")
    positions = [shown.index(name) for name in names]
    assert positions == sorted(positions)


def test_the_ui_draws_a_trials_curve(submitted, page, tmp_path):
    def history(run: dict[str, Any]) -> int:
        query = f"run_id={run['id']}&metric_key=curve/val/accuracy"
        address = f"{submitted.server.uri}/api/2.0/mlflow/metrics/get-history?{query}"
        with urllib.request.urlopen(address, timeout=DEADLINE_SECONDS) as response:
            return len(json.load(response).get("metrics", []))

    run = max((r for r in submitted.runs_of("trial") if "linear" in r["tags"]["task"]), key=history)
    assert history(run) == 3
    path = f"/#/experiments/{run['experiment']}/runs/{run['id']}/model-metrics?{WORKFLOW}"
    texts = (run["name"], "curve/val\n(4)", "Step")
    open_page(page, submitted.server.uri + path, *texts, screenshot=tmp_path / "curve.png")
    assert page.locator(".js-plotly-plot").first.locator(".point").count() == 3


def test_the_ui_shows_the_report(submitted, page, tmp_path):
    run = submitted.runs_of("summary")[0]
    path = f"/#/experiments/{run['experiment']}/runs/{run['id']}/artifacts/report.html?{WORKFLOW}"
    texts = ("ranking.csv", "Which backbone?")
    shown = open_page(page, submitted.server.uri + path, *texts, screenshot=tmp_path / "report.png")
    assert "mini_resnet.supervised is first of 2 backbones" in shown


def test_a_killed_job_resumes_when_submitted_again_also_during_an_outage_of_mlflow(
    deployment, submitted, finished, tmp_path
):
    """The last test of this module, because it stops the MLflow server."""

    def wait_for_trials(count: int) -> None:
        wait_until(lambda: num_records(tmp_path, "drill") >= count, f"{count} trials")

    assert deployment.submit("killed", "drill.yaml", tmp_path, "--no-wait").returncode == 0
    wait_for_trials(NUM_TRIALS // 4)
    drivers = [p for p in descendants(deployment.cluster.head.pid) if "raybench\0run" in command_of(p)]
    assert len(drivers) == 1
    os.kill(drivers[0], signal.SIGKILL)
    deployment.wait("killed", "failed")
    before = num_records(tmp_path, "drill")
    assert before < NUM_TRIALS

    assert deployment.submit("again", "drill.yaml", tmp_path, "--no-wait").returncode == 0
    wait_for_trials(before + 1)
    deployment.server.stop()
    wait_for_trials(NUM_TRIALS)  # Measuring does not need the server.
    wait_until(lambda: "MLflow does not take" in deployment.log("again"), "tracking notices the outage")
    deployment.server.start()
    deployment.wait("again", "succeeded")
    log = deployment.log("again")
    if "have not reached the tracking server" in log:  # The server took longer to start than a run waits.
        assert rebuild(tmp_path, "drill", deployment.server.uri) == []
    else:
        assert "MLflow answers again; nothing was lost" in log

    names = ("experiment", "trial_id")
    assert measurements(tmp_path).drop(names).equals(measurements(finished).drop(names))
    runs = submitted.runs("drill")
    assert Counter(run["tags"]["raybench.kind"] for run in runs) == {
        "pair": 4,
        "trial": NUM_TRIALS,
        "summary": 1,
    }
    assert len({run["tags"]["raybench.key"] for run in runs}) == len(runs)
    assert {run["status"] for run in runs} == {"FINISHED"}


def command_of(process: int) -> str:
    """Command line of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return ""
