"""What every reply has, whatever it answers and however it came about; the routes are from the app's own table."""

from collections.abc import AsyncIterator
from pathlib import Path

import http_sf
import pytest
from httpx2 import Response

from edge.app import MAX_BODY_BYTES
from edge.guards.limits import free_paths
from serve_app.contract import Failed
from tests.edge.edges import BASE_URL, Clock, Edge, make_edge
from tests.promises.test_owner_matrix import call, filled, owned, routes_of

HTTPS_URL = "https://pictures.example"
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), browsing-topics=()",
}
HSTS = "max-age=63072000; includeSubDomains"
JSON = {"content-type": "application/json"}


@pytest.fixture(params=[BASE_URL, HTTPS_URL])
async def edge(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Edge]:
    env = {"SFUMATO_ALLOWED_HOSTS": BASE_URL.partition("://")[2]}
    async with make_edge(tmp_path, Clock(), public_url=request.param, env=env).opened() as edge:
        yield edge


def is_whole(edge: Edge, path: str, reply: Response, place: str) -> None:
    """Each header once: a second one would be for a browser to choose from."""
    for name, value in SECURITY.items():
        assert reply.headers.get_list(name) == [value], f"{place}: {name}"
    is_https = edge.services.settings.is_https
    assert reply.headers.get_list("strict-transport-security") == ([HSTS] if is_https else []), place
    [policy] = reply.headers.get_list("content-security-policy")
    assert "default-src 'none'" in policy, place
    assert "unsafe" not in policy, place
    [request_id] = reply.headers.get_list("x-request-id")
    assert len(request_id) == 16, place
    assert len(reply.headers.get_list("cache-control")) == 1, place
    if path not in free_paths() or reply.request.method not in ("GET", "HEAD"):
        tells_limits(reply, place)


def tells_limits(reply: Response, place: str) -> None:
    """As structured fields, of the same windows in both."""
    policies, states = (
        dict(http_sf.parse(reply.headers[name].encode(), tltype="list")) for name in ("ratelimit-policy", "ratelimit")
    )
    assert policies, place
    assert set(policies) == set(states), place
    assert all(parameters["q"] > 0 for parameters in policies.values()), place
    assert all(parameters["r"] >= 0 for parameters in states.values()), place
    assert reply.headers["x-ratelimit-reset-requests"].endswith("s"), place


async def test_every_route_answers_with_all_the_headers(edge: Edge) -> None:
    mine = await owned(edge)
    for method, template in routes_of(edge.app):
        path = filled(template, mine)
        for asked in (method, "OPTIONS") if method == "GET" else (method,):
            edge.client.cookies.clear()
            reply = await call(edge, asked, path, template, {}, mine)
            is_whole(edge, path, reply, f"{asked} {template}: {reply.status_code}")


@pytest.mark.parametrize(
    ("method", "path", "status", "headers"),
    [
        ("GET", "/nothing/here", 404, {}),
        ("GET", "/v1/nothing", 404, {}),
        ("HEAD", "/v1/nothing", 404, {}),
        ("PUT", "/v1/models", 405, {}),
        ("CANARY", "/", 405, {}),
        ("GET", "/v1/models", 401, {"authorization": "Bearer nonsense"}),
        ("GET", "/v1/models", 403, {"sec-fetch-site": "cross-site"}),
        ("GET", "/v1/models", 421, {"host": "evil.example"}),
        ("GET", "/i/nothing", 404, {}),
    ],
)
async def test_a_refusal_has_them_too(edge: Edge, method: str, path: str, status: int, headers: dict[str, str]) -> None:
    reply = await edge.client.request(method, path, headers=headers)
    assert reply.status_code == status
    is_whole(edge, path, reply, f"{method} {path}")


async def test_so_have_faults_of_ours_and_bodies_that_are_too_large(edge: Edge) -> None:
    path = "/v1/privacy/requests"
    large = await edge.client.post(path, content=b"y" * (MAX_BODY_BYTES + 1), headers=JSON)
    edge.generator.failures = [Failed("engine_failed", "")]
    failed = await edge.draw()
    edge.services.runs.draining.set()
    draining = await edge.draw()
    assert [reply.status_code for reply in (large, failed, draining)] == [413, 500, 503]
    for reply in (large, failed, draining):
        is_whole(edge, path, reply, str(reply.status_code))


async def test_calls_to_no_route_are_counted_for_their_network(edge: Edge) -> None:
    first, second = [await edge.client.get("/nothing") for _ in range(2)]
    left = [int(reply.headers["x-ratelimit-remaining-requests"]) for reply in (first, second)]
    assert left[0] - left[1] == 1
