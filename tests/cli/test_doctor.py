"""`raybench doctor` reports what is wrong with a machine, and changes nothing."""

import importlib.metadata
from collections import namedtuple

import pytest

from raybench.cli import doctor, main
from raybench.cli.doctor import diagnose
from raybench.store.files.s3_client import client


@pytest.fixture(autouse=True)
def no_servers(monkeypatch):
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def checks(storage, uri=None):
    return {check.name: check for check in diagnose(storage, uri)}


def test_a_working_machine_passes_every_check(tmp_path):
    results = checks(tmp_path)
    assert {name: check.message for name, check in results.items() if not check.is_ok} == {}
    assert results["torch"].message == importlib.metadata.version("torch")
    assert str(tmp_path) in results["storage"].message
    assert "(created by the first run)" in results["tracking"].message
    assert results["ray cluster"].message == "none named; a local one is started"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch):
    def version(name):
        if name == "kornia":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    check = checks(tmp_path)["kornia"]
    assert (check.is_ok, check.message) == (False, "not installed; run `make install`.")


def test_a_storage_that_cannot_be_written_fails_the_check(tmp_path):
    (tmp_path / "file").write_text("in the way")
    check = checks(tmp_path / "file" / "storage")["storage"]
    assert not check.is_ok
    assert "cannot write" in check.message


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "localhost:9000"), ("AWS_PROFILE", "nope")])
def test_aws_variables_without_a_usable_bucket_fail_the_check(bucket, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    client.cache_clear()
    results = checks(bucket)
    for check in (results["storage"], results["tracking"]):
        assert not check.is_ok
        assert value in check.message


def test_a_cache_folder_that_cannot_be_created_fails_the_check(bucket, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "file"))
    check = checks(bucket)["storage"]
    assert not check.is_ok
    assert "RAYBENCH_CACHE" in check.message


def test_a_nearly_full_disk_fails_the_check(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(2**40, 2**40 - 2**29, 2**29)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    check = checks(tmp_path)["storage"]
    assert not check.is_ok
    assert "0.5 GiB free" in check.message


def test_a_named_cluster_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert checks(tmp_path)["ray cluster"].message == "head:6379"


def test_a_tracking_server_that_does_not_answer_fails_the_check_and_the_command(tmp_path, capsys):
    arguments = ["doctor", "--storage", str(tmp_path), "--tracking-uri", "http://127.0.0.1:9"]
    assert main(arguments) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL"))
    assert line.startswith("FAIL  tracking: MLflow at http://127.0.0.1:9 cannot be used")


def test_every_check_is_one_line(tmp_path, capsys):
    main(["doctor", "--storage", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(diagnose(tmp_path, None))
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in lines)
