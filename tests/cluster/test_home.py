"""What `up` checks and makes before anything starts."""

import socket
import stat
from pathlib import Path

import pytest

from cluster.home import HomeError, free_port, prepare_home, require_free_port


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path):
    first = prepare_home(tmp_path / "home")
    assert prepare_home(tmp_path / "home") == first
    assert len(set(first.values())) == 3
    assert stat.S_IMODE((tmp_path / "home" / "secrets.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="--home"):
        prepare_home(tmp_path / "file" / "home")


def test_a_lost_secret_is_named(tmp_path: Path):
    prepare_home(tmp_path)
    (tmp_path / "secrets.env").write_text("SFUMATO_SECRET=x\n")
    with pytest.raises(HomeError, match="SFUMATO_SERVE_SECRET"):
        prepare_home(tmp_path)


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.home.MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(HomeError, match="make room"):
        prepare_home(tmp_path)


def test_a_port_in_use_is_named_with_its_setting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HomeError, match="SFUMATO_PORT"):
            require_free_port(taken.getsockname()[1], "SFUMATO_PORT")


def test_a_free_port_is_accepted():
    require_free_port(free_port(), "SFUMATO_PORT")
