"""Which storage addresses are accepted, and how wrong ones are refused."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raybench.core.errors import StorageError
from raybench.store.files import is_local_path, local_folder, open_storage, parse_storage_path
from raybench.store.files.s3 import S3Path
from raybench.store.files.s3_client import client

NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_.-]*[A-Za-z0-9_]", fullmatch=True), min_size=1, max_size=4)


def test_an_address_is_a_folder_or_a_prefix_of_a_bucket():
    assert parse_storage_path("runs") == Path("runs")
    assert parse_storage_path("/data/s3") == Path("/data/s3")
    assert parse_storage_path("s3://bucket/some/results/") == S3Path("bucket", "some/results")
    assert parse_storage_path("S3://bucket") == S3Path("bucket", "")
    assert [is_local_path(parse_storage_path(a)) for a in ("runs", "s3://bucket")] == [True, False]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3:/bucket/x", r"'s3:/bucket/x' is not a storage; give a folder of this machine or s3://"),
        ("gs://bucket/x", r"'gs://bucket/x' is not a storage"),
        ("file:///data", r"'file:///data' is not a storage"),
        ("s3://", r"'s3://' names no bucket; write s3://bucket/prefix"),
        ("s3://a/x", r"'s3://a/x' names no bucket"),
        ("s3://bucket/a//b", r"has an empty or dotted segment"),
        ("s3://bucket/../b", r"has an empty or dotted segment"),
    ],
)
def test_other_addresses_are_refused(address, message):
    with pytest.raises(StorageError, match=message):
        parse_storage_path(address)


@pytest.mark.parametrize("address", ["s3://me:sesame@host/bucket", "s3://AKIA:open/sesame@bucket/x"])
def test_a_password_in_an_address_does_not_appear_in_the_error(address):
    with pytest.raises(StorageError, match="names no bucket") as error:
        parse_storage_path(address)
    assert "sesame" not in str(error.value)
    assert "AKIA" not in str(error.value)


@given(NAMES)
def test_paths_in_a_bucket_behave_like_posix_paths(names):
    path, expected = S3Path("bucket", ""), PurePosixPath("/bucket")
    for name in names:
        path, expected = path / name, expected / name
    assert str(path) == f"s3:/{expected}"
    assert (path.name, path.stem) == (expected.name, expected.stem)
    assert str(path.parent) == f"s3:/{expected.parent}"
    assert parse_storage_path(str(path)) == path or set(names) & {".", ".."}


def test_the_local_folder_of_a_bucket_depends_on_its_endpoint(bucket, monkeypatch, tmp_path):
    folder = local_folder(bucket / "features")
    assert folder == local_folder(bucket) / "features"
    assert folder.is_relative_to(tmp_path / "copies")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client.cache_clear()
    assert local_folder(bucket / "features") != folder
    assert local_folder(tmp_path) == tmp_path


def test_an_existing_bucket_is_opened(bucket):
    assert open_storage(str(bucket)) == bucket


def test_a_missing_bucket_is_reported_at_once(bucket):
    with pytest.raises(StorageError, match=r"cannot use storage 's3://elsewhere/x': there is no bucket"):
        open_storage("s3://elsewhere/x")


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "localhost:9000"), ("AWS_PROFILE", "nope")])
def test_invalid_aws_variables_are_reported_when_the_local_folder_is_computed(
    bucket, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    client.cache_clear()
    with pytest.raises(StorageError, match=f"cannot use a bucket: .*{value}.*; mend AWS's variables"):
        local_folder(bucket)


def test_an_unreachable_endpoint_is_reported_at_once(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client.cache_clear()
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9 does not answer \(EndpointConnectionError\)"):
        open_storage(bucket)


def test_the_error_for_missing_credentials_names_the_variables(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client.cache_clear()
    with pytest.raises(StorageError, match=r"no credentials \(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_storage(bucket)


def test_an_unknown_aws_profile_is_reported(bucket, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    client.cache_clear()
    with pytest.raises(StorageError, match=r"profile \(nobodys\) could not be found"):
        open_storage(bucket)
