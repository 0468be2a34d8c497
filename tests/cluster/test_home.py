"""What `up` checks and makes before anything starts."""

import socket
import stat
from pathlib import Path

import pytest

from cluster.home import HomeError, free_port, prepare_home, require_free_port
from cluster.training_key import public_half, read_training_key


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path):
    first = prepare_home(tmp_path / "home")
    assert prepare_home(tmp_path / "home") == first
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE((tmp_path / "home" / "secrets.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_the_first_start_makes_the_training_key_and_only_its_public_half_is_among_the_settings(tmp_path: Path):
    public = prepare_home(tmp_path)["SFUMATO_TRAINING_KEY"]
    private = tmp_path / "training.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public == public_half(read_training_key(private))

    private.rename(tmp_path / "elsewhere.key")
    assert prepare_home(tmp_path)["SFUMATO_TRAINING_KEY"] == public
    assert not private.exists()


def test_an_older_home_gets_its_training_key_and_a_start_that_was_cut_off_is_finished(tmp_path: Path):
    prepare_home(tmp_path)
    file = tmp_path / "secrets.env"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if "TRAINING" not in line))  # and without an end of line
    again = prepare_home(tmp_path)
    assert again["SFUMATO_TRAINING_KEY"] == public_half(read_training_key(tmp_path / "training.key"))
    assert file.read_text().splitlines() == lines


def test_a_broken_training_key_is_one_line(tmp_path: Path):
    (tmp_path / "training.key").write_text("no key")
    with pytest.raises(HomeError, match=r"training\.key"):
        prepare_home(tmp_path)


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
