import pytest

from edge.domain.sessions import new_session, session_token
from tests.edge.edges import BASE_URL, Edge


def cookie(edge: Edge) -> dict[str, str]:
    session = new_session(edge.clock(), 1e6)
    return {"cookie": f"sid={session_token(session, edge.services.keyring)}"}


async def drawn_with(edge: Edge, headers: dict[str, str]) -> int:
    reply = await edge.client.post("/v1/images/generations", json={"prompt": "a red apple"}, headers=headers)
    return reply.status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": BASE_URL}, 200),
        ({}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": BASE_URL}, 403),
    ],
)
async def test_a_cookie_acts_only_from_our_own_pages(edge: Edge, headers: dict[str, str], status: int) -> None:
    assert await drawn_with(edge, cookie(edge) | headers) == status
    assert len(edge.generator.requests) == (status == 200)


async def test_another_site_is_refused_without_a_cookie_too(edge: Edge) -> None:
    assert await drawn_with(edge, {"sec-fetch-site": "cross-site"}) == 403
    assert (await edge.client.get("/v1/models", headers={"sec-fetch-site": "cross-site"})).status_code == 403


async def test_a_program_with_a_key_needs_no_origin(edge: Edge) -> None:
    assert await drawn_with(edge, cookie(edge) | {"authorization": "Bearer anonymous"}) == 200


async def test_a_link_from_another_site_may_show_a_picture_but_not_delete_it(edge: Edge) -> None:
    url = (await edge.draw()).json()["data"][0]["url"]
    headers = {"sec-fetch-site": "cross-site"}
    assert (await edge.client.get(url, headers=headers)).status_code == 200
    reply = await edge.client.delete(url, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (403, "cross_site")
