"""Storages for tests: a folder, or a prefix of its own in a bucket of an S3 server that starts once."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from raybench.store.files.location import CACHE_VARIABLE
from raybench.store.files.s3 import S3Path
from raybench.store.files.s3_client import client
from tests.end_to_end import servers

# No time limits: a loaded machine must not fail a test. The same examples everywhere; others are drawn with
# `pytest --hypothesis-profile explore`.
settings.register_profile(
    "raybench", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("explore", settings.get_profile("raybench"), derandomize=False)
settings.load_profile("raybench")
PREFIXES = itertools.count()


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """URL of an S3 server with an empty bucket."""
    with servers.s3() as address:
        yield address


@pytest.fixture
def bucket(s3_address, tmp_path, monkeypatch) -> Iterator[S3Path]:
    """An empty storage in a bucket; local copies go to the test's own folder."""
    for name, value in {**servers.S3_VARIABLES, "AWS_ENDPOINT_URL": s3_address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "copies"))
    client.cache_clear()
    yield S3Path(servers.BUCKET, f"test-{next(PREFIXES)}")
    client.cache_clear()


@pytest.fixture(params=["folder", "bucket"])
def any_storage(request, tmp_path) -> Path | S3Path:
    """An empty storage: once a folder, once in a bucket."""
    return tmp_path / "storage" if request.param == "folder" else request.getfixturevalue("bucket")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `fuzz` and `soak` unless `-m` names their mark."""
    for mark in ("fuzz", "soak"):
        if mark not in (config.option.markexpr or ""):
            left_out = [item for item in items if item.get_closest_marker(mark)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
