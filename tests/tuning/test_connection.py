"""A cluster that does not answer and a Ray that does not start are refused in one sentence, without Ray."""

import pytest
import ray

from raybench.core.errors import ResourceError
from raybench.tuning.cluster import ray_session


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense", "is no address; give the head's `host:port`"),
        ("127.0.0.1:99999", "is no address"),
        ("127.0.0.1:abc", "is no address"),
        ("http://x:1", "is no address"),
        ("127.0.0.1:1", "no Ray cluster answers at RAY_ADDRESS='127.0.0.1:1' (Connection refused)"),
        ("ray://127.0.0.1:1", "(Connection refused)"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at"),
    ],
)
def test_an_address_where_no_cluster_answers_is_refused_without_asking_ray(monkeypatch, address, reason):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray must not be asked"))
    with pytest.raises(ResourceError) as caught, ray_session():
        pass
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "error", [ConnectionError("a\nb"), ValueError("a"), RuntimeError("a"), SystemExit("a")]
)
def test_a_failure_of_ray_to_start_is_refused_in_one_sentence(monkeypatch, error):
    def init(**options):
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ResourceError, match=r"RAY_ADDRESS='auto' \(\w+: a\); give the head's"), ray_session():
        pass
    monkeypatch.setenv("RAY_ADDRESS", "")
    with (
        pytest.raises(ResourceError, match=r"Ray cannot be started \(\w+: a\); see Ray's logs"),
        ray_session(),
    ):
        pass
