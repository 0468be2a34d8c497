import pytest

from edge.domain.keyring import Keyring
from edge.domain.sessions import new_session, read_session, session_token

KEYRING = Keyring("k" * 40)
NOW = 1_800_000_000.0
IDLE_S = 30 * 86400.0


def test_a_token_brings_back_its_session() -> None:
    session = new_session(NOW, IDLE_S)
    assert read_session(session_token(session, KEYRING), KEYRING, NOW) == session


def test_a_token_ends_when_it_says() -> None:
    token = session_token(new_session(NOW, IDLE_S), KEYRING)
    assert read_session(token, KEYRING, NOW + IDLE_S - 1)
    assert read_session(token, KEYRING, NOW + IDLE_S) is None


def test_no_character_of_a_token_may_change() -> None:
    token = session_token(new_session(NOW, IDLE_S), KEYRING)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert read_session(token[:place] + other + token[place + 1 :], KEYRING, NOW) is None


@pytest.mark.parametrize(
    "token", ["", "sfs_", "sfs_ä", "sk-abc", "sfs_" + "A" * 96, "sfs_" + "A" * 95, "sfs_" + "=" * 96]
)
def test_what_is_no_token_is_none(token: str) -> None:
    assert read_session(token, KEYRING, NOW) is None


def test_another_deployment_s_token_is_none() -> None:
    assert read_session(session_token(new_session(NOW, IDLE_S), Keyring("o" * 40)), KEYRING, NOW) is None


def test_a_repr_shows_neither_id_nor_secret() -> None:
    session = new_session(NOW, IDLE_S)
    assert session.id.hex() not in repr(session)
    assert repr(session) == "<session>"
