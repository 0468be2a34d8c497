"""A session's token as its holder meets it: when it is replaced, how long the former is good, what ends it."""

from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.domain.rotation import GRACE_S, Noted
from edge.domain.sessions import Session, read_session, session_token
from tests.edge.edges import Edge
from tests.edge.statements import statements

DAY_S = 86_400
HALF_S = 15 * DAY_S


def said(reply: Response) -> str | None:
    return reply.headers.get("x-sfumato-session")


async def models(edge: Edge, token: str) -> Response:
    return await edge.client.get("/v1/models", headers={"authorization": f"Bearer {token}"})


def rotation_of(edge: Edge, token: str) -> int:
    session = read_session(token, edge.services.keyring, edge.clock())
    assert session
    return session.rotation


async def kept_session(edge: Edge) -> str:
    """A token of one that has a row."""
    return (await edge.draw()).headers["x-sfumato-session"]


async def replaced(edge: Edge, old: str) -> str:
    edge.clock.advance(HALF_S + 1)
    new = said(await models(edge, old))
    assert new
    return new


async def test_half_way_the_next_token_comes_and_the_former_is_good_for_a_minute(edge: Edge) -> None:
    old = await kept_session(edge)
    assert said(await models(edge, old)) is None
    new = await replaced(edge, old)
    assert (rotation_of(edge, old), rotation_of(edge, new)) == (0, 1)
    edge.clock.advance(GRACE_S - 1)
    again = await models(edge, old)
    assert (again.status_code, said(again)) == (200, new)  # whoever did not hear it is told again
    assert (await models(edge, new)).status_code == 200


async def test_an_old_token_that_comes_back_later_ends_the_session(edge: Edge) -> None:
    old = await kept_session(edge)
    new = await replaced(edge, old)
    edge.clock.advance(GRACE_S + 1)
    assert (await models(edge, new)).status_code == 200
    assert (await models(edge, old)).status_code == 401
    for token in (old, new):
        refused = await models(edge, token)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_the_end_is_known_on_another_edge_within_a_second(edge: Edge) -> None:
    old = await kept_session(edge)
    new = await replaced(edge, old)
    edge.clock.advance(GRACE_S + 1)
    other = type(edge.services.rotation)(edge.services.database, edge.services.session_idle_s, edge.clock)
    session = read_session(new, edge.services.keyring, edge.clock())
    assert session
    assert await other.allows(session)
    await models(edge, old)
    edge.clock.advance(0.6)
    assert not await other.allows(session)


async def test_a_cookie_of_an_ended_session_counts_as_none_and_the_page_gives_another(edge: Edge) -> None:
    old = await kept_session(edge)
    new = await replaced(edge, old)
    edge.clock.advance(GRACE_S + 1)
    await models(edge, old)
    headers = {"cookie": f"sid={new}", "sec-fetch-site": "same-origin"}
    reply = await edge.client.get("/v1/generations", headers=headers)
    assert (reply.json()["data"], said(reply) is not None) == ([], True)
    page = await edge.client.get("/", headers=headers)
    assert page.headers["set-cookie"].startswith("sid=sfs_")
    assert new not in page.headers["set-cookie"]


async def test_a_page_replaces_the_cookie_half_way(edge: Edge) -> None:
    token = await kept_session(edge)
    cookie = {"cookie": f"sid={token}"}
    assert f"sid={token};" in (await edge.client.get("/", headers=cookie)).headers["set-cookie"]
    edge.clock.advance(HALF_S + 1)
    new = (await edge.client.get("/", headers=cookie)).headers["set-cookie"].partition(";")[0].removeprefix("sid=")
    assert rotation_of(edge, new) == 1
    assert len((await edge.client.get("/v1/generations", headers={"cookie": f"sid={new}"})).json()["data"]) == 1


async def test_for_a_session_without_a_row_nothing_is_noted(edge: Edge) -> None:
    old = said(await edge.client.get("/v1/models"))
    assert old
    edge.clock.advance(HALF_S + 1)
    with statements(edge.services.database) as seen:
        new = said(await models(edge, old))
        assert new
        edge.clock.advance(GRACE_S + 1)
        assert (await models(edge, old)).status_code == 200
        assert (await models(edge, new)).status_code == 200
    assert all(statement.startswith("SELECT") for statement in seen)


async def test_a_replaced_token_moves_a_row_on_that_was_made_after_it(edge: Edge) -> None:
    old = said(await edge.client.get("/v1/models"))
    assert old
    new = await replaced(edge, old)
    edge.client.headers["authorization"] = f"Bearer {new}"
    await edge.make_day_keys()
    assert (await edge.draw()).status_code == 200
    edge.clock.advance(1)
    assert (await models(edge, new)).status_code == 200
    edge.clock.advance(GRACE_S + 1)
    assert (await models(edge, old)).status_code == 401


async def test_in_its_first_half_a_first_token_is_never_looked_up(edge: Edge) -> None:
    token = await kept_session(edge)
    with statements(edge.services.database) as seen:
        for _ in range(20):
            await models(edge, token)
            edge.clock.advance(HALF_S / 21)
    assert seen == []


async def test_a_busy_session_is_looked_up_twice_a_second_at_most(edge: Edge) -> None:
    new = await replaced(edge, await kept_session(edge))
    with statements(edge.services.database) as seen:
        for _ in range(100):
            await models(edge, new)
            edge.clock.advance(0.05)
    assert 9 <= len(seen) <= 11


@settings(max_examples=200, suppress_health_check=[HealthCheck.differing_executors])
@given(
    newest=st.integers(0, 5),
    used=st.integers(0, 6),
    after_s=st.integers(0, 200),
    is_ended=st.booleans(),
)
def test_only_the_newest_and_for_a_minute_the_one_before_is_good(
    newest: int, used: int, after_s: int, is_ended: bool
) -> None:
    noted = Noted(newest, 1_000 if newest else None, is_ended)
    session = Session(bytes(16), bytes(32), used, 10_000)
    is_good = not is_ended and (used >= newest or (used == newest - 1 and after_s <= GRACE_S))
    assert noted.allows(session, 1_000 + after_s) == is_good


async def test_a_token_of_an_ended_session_cannot_be_made_good_by_changing_its_number(edge: Edge) -> None:
    token = await kept_session(edge)
    session = read_session(token, edge.services.keyring, edge.clock())
    assert session
    forged = Session(session.id, session.viewing_secret, session.rotation + 1, session.expires_at)
    text = session_token(forged, edge.services.keyring)
    assert (await models(edge, text[:-4] + token[-4:])).status_code == 401
