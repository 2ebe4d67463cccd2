import pytest

from raybench.core.errors import TrackingError
from raybench.store.files import file_sizes
from raybench.tracking.address import is_server, sqlite_file, storage_id, tracking_uri, without_credentials


def test_the_option_wins_over_the_environment_variable_which_wins_over_sqlite(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert sqlite_file(tracking_uri(tmp_path)) == tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a")
    assert tracking_uri(tmp_path) == "http://a"
    assert tracking_uri(tmp_path, "http://b") == "http://b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:pw@host:5000/x", "http://host:5000/x"),
        ("postgresql+psycopg2://u:p@db/mlflow?sslpassword=s", "postgresql+psycopg2://db/mlflow"),
        ("request to https://u:p@rd@h/api failed", "request to https://h/api failed"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("no address, but an e-mail@example.org", "no address, but an e-mail@example.org"),
    ],
)
def test_credentials_are_removed(text, expected):
    assert without_credentials(text) == expected


@pytest.mark.parametrize("name", ["50%2F50", "what?", "a#b"])
def test_a_folder_that_the_address_of_a_sqlite_file_cannot_name_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackingError, match="rename the folder, or name a server by `--tracking-uri`"):
        tracking_uri(tmp_path / name)
    assert tracking_uri(tmp_path / name, "http://a") == "http://a"


def test_servers_and_databases_are_distinguished():
    assert is_server("https://mlflow.example")
    assert not is_server("sqlite:///x.db")
    assert sqlite_file("postgresql://db/mlflow") is None


def test_a_storage_keeps_its_id_and_two_storages_differ(any_storage):
    first, second = any_storage / "a", any_storage / "b"
    assert storage_id(first) == storage_id(first)
    assert storage_id(first) != storage_id(second)
    assert list(file_sizes(first)) == ["storage_id"]
