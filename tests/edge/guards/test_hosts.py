import pytest

from tests.edge.edges import Edge


@pytest.mark.parametrize(
    "host", ["testserver.local", "TESTSERVER.local:8080", "localhost:8080", "127.0.0.1", "[::1]:80"]
)
async def test_our_own_names_are_answered_to(edge: Edge, host: str) -> None:
    assert (await edge.client.get("/v1/models", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "testserver.local.evil.example", "", "[::2]"])
@pytest.mark.parametrize("path", ["/", "/v1/models", "/static/page.js", "/schema/openapi.json"])
async def test_another_name_is_refused_whatever_it_asks(edge: Edge, host: str, path: str) -> None:
    reply = await edge.client.get(path, headers={"host": host})
    assert reply.status_code == 421
    assert "wrong_host" in reply.text
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize(
    "host", ["localhost:80:80", "localhost:", "evil@localhost", "localhost, evil.example", "localhost/", "[::1"]
)
async def test_what_only_looks_like_our_name_is_refused(edge: Edge, host: str) -> None:
    for path in ("/", "/v1/models"):
        reply = await edge.client.get(path, headers={"host": host})
        assert reply.status_code in (400, 421)
        assert "set-cookie" not in reply.headers


async def test_a_probe_knows_only_the_address(edge: Edge) -> None:
    assert (await edge.client.get("/healthz", headers={"host": "10.1.2.3:8080"})).status_code == 200
