"""The doctor finds what is wrong with a machine, and changes nothing."""

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


def found(storage, uri=None):
    return {finding.what: finding for finding in diagnose(storage, uri)}


def test_a_sound_machine_passes_every_check(tmp_path):
    findings = found(tmp_path)
    assert {what: f.says for what, f in findings.items() if not f.is_ok} == {}
    assert findings["torch"].says == importlib.metadata.version("torch")
    assert str(tmp_path) in findings["storage"].says
    assert "(created by the first run)" in findings["tracking"].says
    assert findings["ray cluster"].says == "none named; a local one is started"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch):
    def version(name):
        if name == "kornia":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    finding = found(tmp_path)["kornia"]
    assert (finding.is_ok, finding.says) == (False, "not installed; run `make install`.")


def test_a_storage_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    finding = found(tmp_path / "file" / "storage")["storage"]
    assert not finding.is_ok
    assert "cannot write" in finding.says


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "localhost:9000"), ("AWS_PROFILE", "nope")])
def test_variables_that_describe_no_bucket_are_findings(bucket, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    client.cache_clear()
    findings = found(bucket)
    for what in ("storage", "tracking"):
        assert not findings[what].is_ok
        assert value in findings[what].says


def test_a_folder_for_copies_that_cannot_be_is_a_finding(bucket, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "file"))
    finding = found(bucket)["storage"]
    assert not finding.is_ok
    assert "RAYBENCH_CACHE" in finding.says


def test_a_nearly_full_disk_is_told(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(2**40, 2**40 - 2**29, 2**29)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    finding = found(tmp_path)["storage"]
    assert not finding.is_ok
    assert "0.5 GiB free" in finding.says


def test_a_named_cluster_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert found(tmp_path)["ray cluster"].says == "head:6379"


def test_a_tracking_server_that_does_not_answer_fails_the_check_and_the_command(tmp_path, capsys):
    arguments = ["doctor", "--storage", str(tmp_path), "--tracking-uri", "http://127.0.0.1:9"]
    assert main(arguments) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL"))
    assert line.startswith("FAIL  tracking: MLflow at http://127.0.0.1:9 does not answer")


def test_every_check_is_one_line(tmp_path, capsys):
    main(["doctor", "--storage", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(diagnose(tmp_path, None))
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in lines)
