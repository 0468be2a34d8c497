from pathlib import Path

from tests.edge.edges import Clock, Edge, make_edge


def attributes(set_cookie: str) -> set[str]:
    return {part.strip().lower() for part in set_cookie.split(";")[1:]}


async def test_only_the_page_sets_the_cookie(edge: Edge) -> None:
    page = await edge.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("sid=sfs_")
    assert {"httponly", "samesite=lax", "path=/", "max-age=2592000"} <= attributes(cookie)
    assert "secure" not in attributes(cookie)
    for path in ("/v1/models", "/healthz", "/static/page.js"):
        assert "set-cookie" not in (await edge.client.get(path, headers={"cookie": ""})).headers


async def test_a_visit_prolongs_the_session_and_keeps_its_pictures(edge: Edge) -> None:
    await edge.client.get("/")
    same_origin = {"sec-fetch-site": "same-origin"}
    await edge.client.post("/v1/images/generations", json={"prompt": "a red apple"}, headers=same_origin)
    edge.clock.advance(20 * 86400)
    await edge.client.get("/")
    edge.clock.advance(20 * 86400)
    reply = await edge.client.get("/v1/generations")
    assert "x-sfumato-session" not in reply.headers
    assert len(reply.json()["data"]) == 1


async def test_on_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    edge = make_edge(tmp_path, Clock(), public_url="https://sfumato.example")
    async with edge.opened():
        page = await edge.client.get("/", headers={"host": "sfumato.example"})
    assert page.headers["set-cookie"].startswith("__Host-sid=")
    assert "secure" in attributes(page.headers["set-cookie"])
    assert "max-age" in page.headers["strict-transport-security"]
