from pathlib import Path

import pytest

from edge.errors import SettingsError
from edge.settings import Places, Settings
from tests.edge.edges import env_for


def test_defaults_are_for_one_laptop(tmp_path: Path) -> None:
    env = env_for(tmp_path)
    del env["SFUMATO_PUBLIC_URL"]
    settings = Settings.from_env(env)
    assert settings.public_url == "http://localhost:8080"
    assert settings.serve_url == "http://127.0.0.1:8000"
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/sfumato.db"
    assert not settings.is_https


def test_the_sweeper_needs_no_secret_of_the_edge(tmp_path: Path) -> None:
    env = {"SFUMATO_HOME": str(tmp_path)}
    assert Places.from_env(env).store.directory == tmp_path / "objects"
    with pytest.raises(SettingsError, match="SFUMATO_SECRET"):
        Settings.from_env(env)


def test_only_an_edge_that_asks_ray_serve_needs_the_secret_of_replicas(tmp_path: Path) -> None:
    settings = Settings.from_env(env_for(tmp_path, SFUMATO_SERVE_SECRET=""))
    with pytest.raises(SettingsError, match="SFUMATO_SERVE_SECRET"):
        _ = settings.replicas_bearer
    assert Settings.from_env(env_for(tmp_path)).replicas_bearer == "t" * 40


@pytest.mark.parametrize("name", ["SFUMATO_SECRET", "SFUMATO_SERVE_SECRET"])
def test_a_bad_secret_is_named_and_never_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_env(env_for(tmp_path, **{name: "hunter2"}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SFUMATO_PORT", "http"),
        ("SFUMATO_PORT", "0"),
        ("SFUMATO_PUBLIC_URL", "example.org"),
        ("SFUMATO_PUBLIC_URL", "https://example.org:x"),
        ("SFUMATO_SERVE_URL", "x/y"),
        ("SFUMATO_DATABASE_URL", "no url"),
        ("SFUMATO_DATABASE_URL", "postgresql+nothing://localhost/sfumato"),
        ("SFUMATO_DATABASE_URL", "sqlite:///sync.db"),
        ("SFUMATO_VALKEY_URL", "localhost:6379"),
        ("SFUMATO_VALKEY_URL", "valkey://"),
        ("SFUMATO_VALKEY_URL", "valkey://localhost:port"),
    ],
)
def test_a_wrong_value_names_its_variable(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env(env_for(tmp_path, **{name: value}))


def test_a_repr_shows_no_secret(tmp_path: Path) -> None:
    env = env_for(tmp_path, SFUMATO_S3_SECRET_KEY="u" * 40)
    shown = repr(Settings.from_env(env))
    assert not any(secret in shown for secret in ("s" * 40, "t" * 40, "u" * 40))


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("HTTPS://Example.ORG/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_public_address_is_spelled_as_browsers_send_it(tmp_path: Path, written: str, origin: str) -> None:
    assert Settings.from_env(env_for(tmp_path, SFUMATO_PUBLIC_URL=written)).public_url == origin
