"""Runs with the storage in a bucket: the same table, whatever happens to driver, nodes and bucket."""

import os
import signal
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from raybench.store.files import file_sizes
from raybench.store.files.lease import EXPIRY_SECONDS
from raybench.store.files.retry import RETRY_VARIABLE
from tests.end_to_end.ray_nodes import RealCluster
from tests.end_to_end.servers import S3_VARIABLES
from tests.end_to_end.small_experiment import NUM_TRIALS, finish, measurements, mlflow_trials, wait_for_trials
from tests.processes import DEADLINE_SECONDS, descendants
from tests.store.files.gate import Gate

pytestmark = [pytest.mark.slow, pytest.mark.drill]

OUTAGE_SECONDS = 20


@pytest.fixture
def gate(s3_address):
    """Proxy between the runs and the bucket; the test itself uses the bucket directly."""
    gate = Gate(urlsplit(s3_address).port)
    yield gate
    gate.close()


def finish_without_secrets(driver: "subprocess.Popen[str]", code: int = 0) -> str:
    """Wait for this exit code; the output, which must not contain the bucket's credentials."""
    output = finish(driver, code)
    for secret in S3_VARIABLES.values():
        assert len(secret) < 20 or secret not in output
    return output


def test_a_bucket_out_of_reach_stops_the_run_and_the_same_command_resumes(finished, start, bucket, gate):
    through_the_gate = {"AWS_ENDPOINT_URL": gate.address}
    driver = start(bucket, **through_the_gate, **{RETRY_VARIABLE: "3"})
    wait_for_trials(driver, bucket, NUM_TRIALS // 4)
    with gate.closed():
        output = finish_without_secrets(driver, 3)
    assert f"{gate.address} does not answer" in output
    assert "same command" in output
    output = finish_without_secrets(start(bucket, **through_the_gate))
    assert f"(raybench ui {bucket})" in output
    assert measurements(bucket).equals(measurements(finished))


def test_a_killed_driver_and_an_outage_of_the_bucket_change_no_result(finished, start, bucket, gate):
    through_the_gate = {"AWS_ENDPOINT_URL": gate.address}
    driver = start(bucket, **through_the_gate)
    wait_for_trials(driver, bucket, NUM_TRIALS // 4)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()

    driver = start(bucket, **through_the_gate)
    wait_for_trials(driver, bucket, NUM_TRIALS // 2)
    with gate.closed():
        time.sleep(OUTAGE_SECONDS)
        assert driver.poll() is None, driver.communicate()[0]
    finish_without_secrets(driver)
    assert measurements(bucket).equals(measurements(finished))
    assert "Nothing was left to run" in finish_without_secrets(start(bucket, **through_the_gate))


def test_a_driver_that_stands_still_beyond_its_lease_is_replaced_and_then_gives_up(finished, start, bucket):
    """As on a machine that sleeps: the first driver continues only after another has finished its work."""
    first = start(bucket)
    wait_for_trials(first, bucket, NUM_TRIALS // 4)
    frozen = [first.pid, *descendants(first.pid)]
    for process in frozen:
        os.kill(process, signal.SIGSTOP)
    time.sleep(EXPIRY_SECONDS + 1)
    finish_without_secrets(start(bucket))
    for process in reversed(frozen):
        os.kill(process, signal.SIGCONT)
    output, _ = first.communicate(timeout=DEADLINE_SECONDS)
    assert first.returncode == 3, output
    assert "Traceback" not in output
    assert measurements(bucket).equals(measurements(finished))
    assert "Nothing was left to run" in finish_without_secrets(start(bucket))


@pytest.fixture
def hidden(tmp_path):
    """(Folder, command prefix): the prefixed command does not see the folder's content."""
    folder = tmp_path / "of-the-driver"
    folder.mkdir()
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]
    done = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot hide a folder from a process here: {done.stderr.strip()}")
    return folder, inside


def test_a_driver_and_a_node_that_share_only_a_bucket_measure_the_same(
    finished, start, bucket, s3_address, hidden, tmp_path
):
    """The worker's node does not see the driver's temporary folder, which holds Tune's state."""
    folder, inside = hidden
    access = {**S3_VARIABLES, "AWS_ENDPOINT_URL": s3_address}
    caches = {name: tmp_path / name for name in ("node", "driver")}
    with RealCluster(head_options=["--num-cpus=0"], **access) as cluster:
        cluster.add_node(inside=inside, RAYBENCH_CACHE=str(caches["node"]))
        driver_only = {
            "RAY_ADDRESS": cluster.address,
            "TMPDIR": str(folder),
            "RAYBENCH_CACHE": str(caches["driver"]),
        }
        finish_without_secrets(start(bucket, **{**cluster.environment, **access, **driver_only}))
    assert measurements(bucket).equals(measurements(finished))
    entries = {name.partition("/")[0] for name in file_sizes(bucket / "features") if "/" in name}
    copies = {name: {path.parent.name for path in caches[name].rglob("shared")} for name in caches}
    assert entries
    assert copies == {"node": entries, "driver": set()}
    (database,) = caches["driver"].rglob("mlflow.db")
    assert set(mlflow_trials(database.parent).values()) == {1}
