"""The main job with its storage in a bucket: the same table, whatever happens to driver, nodes and bucket."""

import os
import signal
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from raybench.store.files import file_sizes, glob_sorted
from raybench.store.files.retry import RETRY_VARIABLE
from raybench.store.files.s3 import S3Path
from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.servers import S3_VARIABLES
from tests.end_to_end.test_run import NUM_TRIALS, mlflow_trials, values
from tests.store.files.gate import Gate

pytestmark = [pytest.mark.slow, pytest.mark.drill]

RETRY_SECONDS = 400
AWAY_SECONDS = 20


@pytest.fixture
def gate(s3_address):
    """Between the runs and the bucket; this process asks the bucket past it."""
    gate = Gate(urlsplit(s3_address).port)
    yield gate
    gate.close()


def wait_for_trials(driver: "subprocess.Popen[str]", storage: S3Path, count: int) -> None:
    deadline = time.monotonic() + RETRY_SECONDS
    while len(glob_sorted(storage / "experiments" / "small" / "trials", "*.json")) < count:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, "no trial has ended"
        time.sleep(0.1)


def ended(driver: "subprocess.Popen[str]", code: int) -> str:
    output, _ = driver.communicate(timeout=RETRY_SECONDS)
    assert driver.returncode == code, output
    for secret in S3_VARIABLES.values():
        assert len(secret) < 20 or secret not in output
    return output


def test_a_bucket_that_stays_away_stops_the_run_and_the_same_command_goes_on(finished, start, bucket, gate):
    through_the_gate = {"AWS_ENDPOINT_URL": gate.address}
    driver = start(bucket, **through_the_gate, **{RETRY_VARIABLE: "3"})
    wait_for_trials(driver, bucket, NUM_TRIALS // 4)
    with gate.closed():
        output = ended(driver, 3)
    assert f"{gate.address} does not answer" in output
    assert "the same command goes on" in output
    output = ended(start(bucket, **through_the_gate), 0)
    assert f"(raybench ui {bucket})" in output
    assert values(bucket).equals(values(finished))


def test_a_killed_driver_and_a_bucket_that_is_away_for_a_while_cost_nothing(finished, start, bucket, gate):
    through_the_gate = {"AWS_ENDPOINT_URL": gate.address}
    driver = start(bucket, **through_the_gate)
    wait_for_trials(driver, bucket, NUM_TRIALS // 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()

    driver = start(bucket, **through_the_gate)
    wait_for_trials(driver, bucket, NUM_TRIALS // 2)
    with gate.closed():
        time.sleep(AWAY_SECONDS)
        assert driver.poll() is None, driver.communicate()[0]
    ended(driver, 0)
    assert values(bucket).equals(values(finished))
    assert ended(start(bucket, **through_the_gate), 0).count("Nothing was left to run") == 1


@pytest.fixture
def hidden(tmp_path):
    """A folder of the driver, and the command that runs another without it."""
    folder = tmp_path / "of-the-driver"
    folder.mkdir()
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]
    done = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot hide a folder from a process here: {done.stderr.strip()}")
    return folder, inside


def test_a_driver_and_a_node_that_share_nothing_but_a_bucket_measure_the_same(
    finished, start, bucket, s3_address, hidden, tmp_path
):
    """The driver's temporary folder, with Tune's own state in it, does not exist on the node that works."""
    folder, inside = hidden
    access = {**S3_VARIABLES, "AWS_ENDPOINT_URL": s3_address}
    caches = {name: tmp_path / name for name in ("node", "driver")}
    with RealCluster(head_options=["--num-cpus=0"], **access) as cluster:
        cluster.add_node(inside=inside, RAYBENCH_CACHE=str(caches["node"]))
        own = {
            "RAY_ADDRESS": cluster.address,
            "TMPDIR": str(folder),
            "RAYBENCH_CACHE": str(caches["driver"]),
        }
        ended(start(bucket, **{**cluster.environment, **access, **own}), 0)
    assert values(bucket).equals(values(finished))
    entries = {name.partition("/")[0] for name in file_sizes(bucket / "features") if "/" in name}
    copies = {name: {path.parent.name for path in caches[name].rglob("shared")} for name in caches}
    assert entries
    assert copies == {"node": entries, "driver": set()}
    (database,) = caches["driver"].rglob("mlflow.db")
    assert set(mlflow_trials(database.parent).values()) == {1}
