"""The whole deployment on this machine: two Ray nodes, PostgreSQL, MLflow, S3, and a submitted job.

Everything is reached as a user reaches it: the job with `ray job`, the runs over MLflow's REST API and in a
browser.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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

from raybench.tracking.shared_view import WORKFLOW
from tests.end_to_end.browser import chromium, open_page
from tests.end_to_end.conftest import SPEC
from tests.end_to_end.ray_nodes import RealCluster, descendants
from tests.end_to_end.servers import BUCKET, MlflowServer, mlflow_server
from tests.end_to_end.test_run import NUM_TRIALS, values

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
JOB = "raybench-small"
RETRY_SECONDS = 200
DOWN_SECONDS = 45
"""And some more until MLflow answers again: a minute in all."""


@dataclass
class Submitted:
    """A job that has ended, and where its traces are."""

    server: MlflowServer
    storage: Path
    exit_code: int
    output: str
    log: str
    """What `ray job logs` prints, without the lines of Ray's own command."""
    secrets: tuple[str, ...] = field(repr=False)

    def ask(self, path: str, **content: Any) -> dict[str, Any]:
        """MLflow's answer to one request of its REST API."""
        request = urllib.request.Request(
            f"{self.server.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def runs(self, experiment: str = "small") -> list[dict[str, Any]]:
        """Every active run of an experiment: id, name, status, tags, metrics."""
        experiments = self.ask("experiments/search", max_results=10)["experiments"]
        identity = next(e["experiment_id"] for e in experiments if e["name"] == experiment)
        found = self.ask("runs/search", experiment_ids=[identity], max_results=1000)["runs"]
        return [
            {
                "id": run["info"]["run_id"],
                "experiment": identity,
                "name": run["info"]["run_name"],
                "status": run["info"]["status"],
                "tags": {tag["key"]: tag["value"] for tag in run["data"]["tags"]},
                "metrics": {m["key"]: m["value"] for m in run["data"].get("metrics", [])},
            }
            for run in found
        ]

    def runs_of(self, kind: str) -> list[dict[str, Any]]:
        return [run for run in self.runs() if run["tags"]["raybench.kind"] == kind]


def working_folder(folder: Path) -> Path:
    """A checkout as far as a job needs it: the package and two experiments that differ in their names."""
    shutil.copytree(PROJECT / "raybench", folder / "raybench", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "experiments").mkdir()
    (folder / "experiments" / "small.yaml").write_text(SPEC)
    (folder / "experiments" / "drill.yaml").write_text(SPEC.replace("name: small", "name: drill"))
    return folder


@dataclass
class Deployment:
    """What runs, and the folder that jobs are submitted from."""

    server: MlflowServer
    cluster: RealCluster
    folder: Path

    def submit(self, job: str, spec: str, storage: Path, *options: str) -> CompletedProcess[str]:
        """As the README says."""
        command = ["raybench", "run", f"experiments/{spec}", "--storage", str(storage)]
        where = ["--working-dir", ".", f"--submission-id={job}"]
        return self.cluster.job("submit", *where, *options, "--", *command, cwd=self.folder)

    def log(self, job: str) -> str:
        return self.cluster.job("logs", job).stdout.partition("Running entrypoint")[2].partition("\n")[2]

    def wait(self, job: str, status: str) -> None:
        """Until Ray reports the job as `succeeded` or `failed`, whichever is asked for."""
        give_up = time.monotonic() + RETRY_SECONDS
        while f"Job '{job}' {status}" not in (said := self.cluster.job("status", job).stdout):
            assert time.monotonic() < give_up, said + self.log(job)
            time.sleep(1)


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


def test_a_submitted_job_measures_what_a_local_run_measures(submitted, finished):
    assert submitted.exit_code == 0, submitted.output
    assert values(submitted.storage).equals(values(finished))


def test_the_jobs_log_is_plain_lines_that_say_how_far_it_is(submitted):
    assert "\x1b" not in submitted.log
    assert "\r" not in submitted.log
    lines = submitted.log.splitlines()
    progress = [line for line in lines if re.search(r"\d+/20 trials; \d+:\d\d", line)]
    assert progress[0].startswith("4 pairs: 0 done")
    assert len([line for line in progress if line.startswith("done ")]) == 4
    assert "4 done" in progress[-1]
    assert "20/20 trials" in progress[-1]
    assert any(line.startswith("rank  backbone") for line in lines), "the ranking"
    # What Ray prints of its own (node and process ids, tables of trials, deprecations) is kept out.
    assert not [line for line in lines if re.search(r"pid=|Warning|Trial name|INFO", line)], submitted.log


def test_the_log_says_where_the_runs_can_be_looked_at(submitted):
    assert f"tracking  {submitted.server.uri}/#/experiments/" in submitted.log


def test_mlflow_has_every_trial_once_under_its_pair(submitted):
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


def test_mlflow_has_the_objective_of_every_trial_and_the_tables_values(submitted):
    for run in submitted.runs_of("trial"):
        assert 0 < run["metrics"]["val/accuracy"] <= 1
        assert ("test/accuracy" in run["metrics"]) == (run["tags"]["raybench.stage"] == "final")
    table = values(submitted.storage).filter(pl.col("metric") == "accuracy", pl.col("split") == "test")
    means = table.group_by("backbone", "task").agg(pl.col("value").mean())
    shown = {
        (run["tags"]["backbone"], run["tags"]["task"]): run["metrics"]["test/accuracy"]
        for run in submitted.runs_of("pair")
    }
    assert shown == pytest.approx({(backbone, task): value for backbone, task, value in means.iter_rows()})


def test_artifacts_lie_in_the_bucket(submitted):
    with urllib.request.urlopen(f"{submitted.server.s3_address}/{BUCKET}?list-type=2", timeout=30) as answer:
        listing = answer.read().decode()
    summary = submitted.runs_of("summary")[0]["id"]
    for name in ("report.html", "ranking.csv", "ranking.md"):
        assert re.search(rf"<Key>mlflow/\d+/{summary}/artifacts/{re.escape(name)}</Key>", listing), listing


def test_the_ranking_read_from_mlflow_is_that_of_the_storage(submitted):
    places = ([str(submitted.storage)], ["--tracking-uri", submitted.server.uri, "--experiment", "small"])
    rankings = []
    for place in places:
        command = [sys.executable, "-m", "raybench.cli", "rank", *place, "--format", "csv"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
    places = [shown.index(name) for name in names]
    assert places == sorted(places)


def test_the_ui_draws_a_trials_curve(submitted, page, tmp_path):
    def history(run: dict[str, Any]) -> int:
        query = f"run_id={run['id']}&metric_key=curve/val/accuracy"
        address = f"{submitted.server.uri}/api/2.0/mlflow/metrics/get-history?{query}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return len(json.load(answer).get("metrics", []))

    run = max((r for r in submitted.runs_of("trial") if "linear" in r["tags"]["task"]), key=history)
    assert history(run) == 3
    place = f"/#/experiments/{run['experiment']}/runs/{run['id']}/model-metrics?{WORKFLOW}"
    texts = (run["name"], "curve/val\n(4)", "Step")
    open_page(page, submitted.server.uri + place, *texts, screenshot=tmp_path / "curve.png")
    assert page.locator(".js-plotly-plot").first.locator(".point").count() == 3


def test_the_ui_shows_the_report(submitted, page, tmp_path):
    run = submitted.runs_of("summary")[0]
    place = f"/#/experiments/{run['experiment']}/runs/{run['id']}/artifacts/report.html?{WORKFLOW}"
    texts = ("ranking.csv", "Which backbone?")
    shown = open_page(page, submitted.server.uri + place, *texts, screenshot=tmp_path / "report.png")
    assert "mini_resnet.supervised is first of 2 backbones" in shown


def test_a_killed_job_submitted_again_goes_on_and_mlflow_may_be_away_for_a_minute(
    deployment, submitted, finished, tmp_path
):
    """Last of this module, for it takes the MLflow server down."""
    ledger = tmp_path / "experiments" / "drill" / "trials"

    def num_trials() -> int:
        return len([*ledger.glob("*-search-*.json"), *ledger.glob("*-final-*.json")])

    def wait_for_trials(count: int) -> None:
        give_up = time.monotonic() + RETRY_SECONDS
        while num_trials() < count:
            assert time.monotonic() < give_up, f"{num_trials()} trials"
            time.sleep(0.05)

    assert deployment.submit("killed", "drill.yaml", tmp_path, "--no-wait").returncode == 0
    wait_for_trials(NUM_TRIALS // 4)
    drivers = [p for p in descendants(deployment.cluster.head.pid) if "raybench\0run" in command_of(p)]
    assert len(drivers) == 1
    os.kill(drivers[0], signal.SIGKILL)
    deployment.wait("killed", "failed")
    before = num_trials()
    assert before < NUM_TRIALS

    assert deployment.submit("again", "drill.yaml", tmp_path, "--no-wait").returncode == 0
    wait_for_trials(before + 1)
    deployment.server.stop()
    stopped = time.monotonic()
    wait_for_trials(NUM_TRIALS)  # It measures on meanwhile.
    time.sleep(max(0.0, stopped + DOWN_SECONDS - time.monotonic()))
    deployment.server.start()
    deployment.wait("again", "succeeded")

    named = ("experiment", "trial_id")
    assert values(tmp_path).drop(named).equals(values(finished).drop(named))
    runs = submitted.runs("drill")
    assert Counter(run["tags"]["raybench.kind"] for run in runs) == {
        "pair": 4,
        "trial": NUM_TRIALS,
        "summary": 1,
    }
    assert len({run["tags"]["raybench.key"] for run in runs}) == len(runs)
    assert {run["status"] for run in runs} == {"FINISHED"}
    log = deployment.log("again")
    assert "MLflow does not take" in log
    assert "MLflow answers again; nothing was lost" in log


def command_of(process: int) -> str:
    """Its command line; empty if it has ended meanwhile."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return ""
