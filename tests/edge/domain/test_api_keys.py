from hypothesis import given
from hypothesis import strategies as st

from edge.domain.api_keys import DIGITS, KnownKeys, is_well_formed, new_key_text
from edge.domain.keyring import Keyring
from tests.edge.accounts import new_key
from tests.edge.edges import Edge
from tests.edge.statements import statements

PLACES = st.integers(0, 56)


def test_a_key_is_a_prefix_256_bits_and_a_checksum() -> None:
    text = new_key_text()
    assert text.startswith("sf_live_")
    assert len(text) == 8 + 43 + 6
    assert len({new_key_text() for _ in range(100)}) == 100


@given(place=PLACES, other=st.sampled_from(DIGITS + "_- é"))
def test_no_character_of_a_key_may_change(place: int, other: str) -> None:
    text = new_key_text()
    assert is_well_formed(text)
    changed = text[:place] + other + text[place + 1 :]
    assert is_well_formed(changed) == (changed == text)


@given(text=st.text() | st.from_regex(r"sf_live_[0-9A-Za-z]{48,50}", fullmatch=True))
def test_what_is_no_key_is_none(text: str) -> None:
    assert not is_well_formed(text)


async def test_a_mistyped_key_costs_no_look_and_every_other_one_the_same(edge: Edge) -> None:
    """Unknown, revoked, expired: whoever tries keys sees neither in the reply nor in the work which it was."""
    expired = await new_key(edge, expires_at=int(edge.clock()) - 1)
    revoked = await new_key(edge)
    await edge.services.database.write(lambda db: setattr(db.merge(revoked.row), "revoked_at", int(edge.clock())))
    known = KnownKeys(edge.services.database, edge.services.keyring, edge.clock)
    mistyped = revoked.text[:-1] + ("A" if revoked.text[-1] != "A" else "B")
    work: dict[str, list[str]] = {}
    for name, text in {
        "mistyped": mistyped,
        "unknown": new_key_text(),
        "revoked": revoked.text,
        "expired": expired.text,
    }.items():
        with statements(edge.services.database) as seen:
            assert await known.find(text) is None
        work[name] = seen
    assert work["mistyped"] == []
    assert len(work["unknown"]) == 1
    assert work["unknown"] == work["revoked"] == work["expired"]


async def test_a_good_key_is_looked_up_twice_a_second_at_most_and_written_down_once_a_day(edge: Edge) -> None:
    key = await new_key(edge)
    known = KnownKeys(edge.services.database, edge.services.keyring, edge.clock)
    with statements(edge.services.database) as seen:
        for _ in range(100):
            assert await known.find(key.text)
            edge.clock.advance(0.05)
    assert [statement.split()[0] for statement in seen].count("UPDATE") == 1
    assert 9 <= [statement.split()[0] for statement in seen].count("SELECT") <= 11


async def test_what_is_remembered_is_bounded_and_ends_with_the_key(edge: Edge) -> None:
    key = await new_key(edge, expires_at=int(edge.clock()) + 1)
    known = KnownKeys(edge.services.database, edge.services.keyring, edge.clock)
    edge.clock.advance(0.8)
    assert await known.find(key.text)
    edge.clock.advance(0.3)
    assert await known.find(key.text) is None


async def test_neither_key_nor_secret_can_be_read_from_the_database(edge: Edge) -> None:
    key = await new_key(edge)
    credential = await edge.services.known_keys.find(key.text)
    assert credential
    await edge.services.database.compact()
    written = b"".join(file.read_bytes() for file in edge.home.iterdir() if file.is_file())
    assert key.row.account_id.encode() in written
    for secret in (key.text.encode(), key.text[8:40].encode(), credential.viewing_secret):
        assert secret not in written
    assert key.text not in repr(key)
    assert credential.viewing_secret.hex() not in repr(credential)


async def test_another_deployment_knows_no_key_of_ours(edge: Edge) -> None:
    key = await new_key(edge)
    assert await KnownKeys(edge.services.database, Keyring("o" * 40), edge.clock).find(key.text) is None
