import pytest

from tests.edge.edges import Edge
from tests.told import told


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/nothing", "/i/x", "/v1/models"])
async def test_every_reply_has_an_id_and_the_headers(edge: Edge, path: str) -> None:
    first, second = await edge.client.get(path), await edge.client.get(path)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["referrer-policy"] == "no-referrer"
    assert first.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert "unsafe-inline" not in first.headers["content-security-policy"]


async def test_the_log_line_has_the_template_and_nothing_that_was_sent(edge: Edge) -> None:
    with told() as lines:
        url = (await edge.draw(prompt="canary-prompt")).json()["data"][0]["url"]
        await edge.client.get(
            url, params={"download": "1"}, headers={"referer": "canary-referer", "user-agent": "canary-agent"}
        )
        await edge.client.post("/v1/images/generations?canary-query", content=b'{"canary-field": 1}')
        await edge.client.request("CANARY", "/healthz")
    ours = [line for line in lines if line["logger"] == "sfumato.access"]
    assert [(line["method"], line["route"], line["status"]) for line in ours] == [
        ("POST", "/v1/images/generations", 200),
        ("GET", "/i/{token}", 200),
        ("POST", "/v1/images/generations", 415),
        ("other", "none", 405),
    ]
    assert set(ours[0]) == {"time", "level", "logger", "event", "request_id", "method", "route", "status", "ms"}
    assert "canary" not in str(lines).lower()
    assert url.rsplit("/", 1)[1] not in str(lines)


async def test_a_method_that_is_not_taken_says_which_are(edge: Edge) -> None:
    reply = await edge.client.put("/v1/images/generations")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in reply.headers["allow"]
