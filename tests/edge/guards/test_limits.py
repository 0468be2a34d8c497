"""Limits as callers meet them: counted right, said on every reply, refused with the moment of the next try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import http_sf
import msgspec
import pytest
from httpx2 import ASGITransport, AsyncClient, Response

from edge.domain.api_keys import new_key_text
from policies.load import load_policies
from policies.schema import Policies
from serve_app.contract import Failed
from tests.edge.accounts import bearer, new_key
from tests.edge.edges import BASE_URL, Clock, Edge, make_edge
from tests.edge.statements import statements
from tests.told import told

SMALL = {"images_per_minute": 10, "images_per_day": 15, "requests_per_minute": 12}
PROXY = {"SFUMATO_TRUSTED_PROXIES": "127.0.0.0/8"}


def with_limits(network: int = 100, jobs: int = 3, budget: int = 1000, share: int = 5) -> Policies:
    """Small ones for a session, and for its network so many pictures a minute and twice as many requests."""
    policies = load_policies()
    replace = msgspec.structs.replace
    plans = policies.plans
    anonymous = plans.plans["anonymous"]
    anonymous = replace(anonymous, concurrent_jobs=jobs, allowance=replace(anonymous.allowance, **SMALL))
    of_network = replace(plans.networks.ipv4_32, images_per_minute=network, requests_per_minute=2 * network)
    plans = replace(
        plans,
        plans=plans.plans | {"anonymous": anonymous},
        networks=replace(plans.networks, ipv4_32=of_network),
        anonymous_budget=replace(plans.anonymous_budget, images_per_minute=budget, share=share, proof_above=1.0),
    )
    return replace(policies, plans=plans)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), policies=with_limits()).opened() as edge:
        yield edge


def numbers(reply: Response, name: str) -> dict[str, dict[str, int]]:
    """A structured header as a client reads it."""
    return dict(http_sf.parse(reply.headers[name].encode(), tltype="list"))


async def signed_in(edge: Edge) -> None:
    edge.sign_in(await edge.client.get("/v1/generations"))


async def test_pictures_are_counted_and_said_in_every_way_that_clients_know(edge: Edge) -> None:
    await signed_in(edge)
    reply = await edge.draw(n=4)
    policy, state = numbers(reply, "ratelimit-policy"), numbers(reply, "ratelimit")
    assert policy["images-per-minute"] == {"q": 10, "w": 60, "qu": "images"}
    assert policy["requests-per-minute"] == {"q": 12, "w": 60}
    assert state["images-per-minute"]["r"] == 6
    assert state["images-per-day"]["r"] == 11
    assert state["network-images-per-minute"]["r"] == 96
    assert state["requests-per-minute"]["r"] == 10  # the call that signed in was one
    assert policy["concurrent-jobs"]["q"] == 3
    shown = [reply.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining", "reset")]
    assert shown == ["10", "6", "60s"]
    assert not any("pk" in parameters for parameters in policy.values())


async def test_a_refusal_says_which_limit_and_when_and_means_it(edge: Edge) -> None:
    await signed_in(edge)
    assert (await edge.draw(n=8)).status_code == 200
    reply = await edge.draw(n=4)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    retry_s = int(reply.headers["retry-after"])
    assert "10 images in a minute" in error["message"]
    assert f"{retry_s} s" in error["message"]
    assert numbers(reply, "ratelimit")["images-per-minute"]["t"] == retry_s
    assert reply.headers["x-ratelimit-reset-requests"] == f"{retry_s}s"
    edge.clock.advance(retry_s - 2)
    assert (await edge.draw(n=4)).status_code == 429
    edge.clock.advance(2)
    assert (await edge.draw(n=4)).status_code == 200


async def test_what_was_refused_is_charged_nothing(edge: Edge) -> None:
    await signed_in(edge)
    await edge.draw(n=8)
    for _ in range(30):
        assert (await edge.draw(n=4)).status_code == 429
    state = numbers(await edge.draw(n=2), "ratelimit")
    assert (state["images-per-minute"]["r"], state["images-per-day"]["r"]) == (0, 5)
    assert state["requests-per-minute"]["r"] == 9
    assert len(edge.generator.requests) == 2


async def test_a_refused_call_leaves_nothing_behind(edge: Edge) -> None:
    await signed_in(edge)
    await edge.draw(n=10)
    before = (await edge.client.get("/v1/generations")).json()
    assert (await edge.submit()).status_code == 429
    assert (await edge.client.get("/v1/generations")).json() == before


@pytest.mark.parametrize(
    "body", [{"prompt": ""}, {"prompt": "x", "n": 99}, {"nothing": 1}, {"prompt": "x", "size": "1x1"}]
)
async def test_a_call_that_makes_no_sense_counts_as_a_request_and_not_as_a_picture(
    edge: Edge, body: dict[str, object]
) -> None:
    await signed_in(edge)
    reply = await edge.client.post("/v1/images/generations", json=body)
    assert reply.status_code == 400
    assert numbers(reply, "ratelimit")["requests-per-minute"]["r"] == 10
    assert numbers(await edge.draw(), "ratelimit")["images-per-minute"]["r"] == 9


async def test_nonsense_has_an_end_too(edge: Edge) -> None:
    await signed_in(edge)
    statuses = [(await edge.draw(n=99)).status_code for _ in range(20)]
    assert set(statuses[:10]) == {400}
    assert set(statuses[13:]) == {429}


async def test_a_dry_run_is_a_request(edge: Edge) -> None:
    await signed_in(edge)
    reply = await edge.client.post("/v1/generations?dry_run=true", json={"prompt": "x", "n": 10})
    assert reply.status_code == 200
    assert numbers(await edge.draw(), "ratelimit")["images-per-minute"]["r"] == 9


async def test_a_new_session_for_each_picture_does_not_escape_its_network(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=12)).opened() as edge:
        assert [(await edge.draw(n=5)).status_code for _ in range(3)] == [200, 200, 429]
        assert [(await edge.draw()).status_code for _ in range(3)] == [200, 200, 429]


async def test_a_header_buys_nobody_another_network(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=10)).opened() as edge:
        for index in range(3):
            edge.client.headers["x-forwarded-for"] = f"203.0.113.{index}"
            assert (await edge.draw(n=10)).status_code == (200 if index == 0 else 429)


async def test_behind_a_listed_proxy_everyone_has_a_network_of_their_own(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=10), env=PROXY).opened() as edge:
        for index in range(3):
            edge.client.headers["x-forwarded-for"] = f"1.1.1.1, 203.0.113.{index}"
            assert (await edge.draw(n=10)).status_code == 200
        assert (await edge.draw()).status_code == 429


async def test_no_address_is_logged_and_none_lies_in_the_counter_store(tmp_path: Path, valkey_url: str) -> None:
    env = PROXY | {"SFUMATO_VALKEY_URL": valkey_url}
    async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
        edge.client.headers["x-forwarded-for"] = "203.0.113.77"
        with told() as lines:
            edge.sign_in(await edge.draw())
            await edge.draw(n=99)
            await edge.client.get("/v1/models", headers={"authorization": "Bearer nonsense"})
        assert "203.0.113" not in str(lines)
        store = edge.services.counter_store
        assert store
        names = await store.keys("*")
        session = edge.client.headers["authorization"]
        assert names
        for name in names:
            kind = await store.type(name)
            held = name + (
                await store.get(name) if kind == b"string" else str(await store.zrange(name, 0, -1)).encode()
            )
            assert b"203.0.113" not in held
            assert bytes([203, 0, 113, 77]) not in held
            assert bytes([203, 0, 113, 77]).hex().encode() not in held
            assert session.encode() not in held
            assert 0 < await store.pttl(name) <= 48 * 3600 * 1000


async def test_one_session_has_so_many_jobs_at_once(edge: Edge) -> None:
    await signed_in(edge)
    edge.generator.hold.clear()
    jobs = [await edge.submit() for _ in range(3)]
    assert [job.status_code for job in jobs] == [202] * 3
    reply = await edge.submit()
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert numbers(reply, "ratelimit")["concurrent-jobs"] == {"r": 0, "t": int(reply.headers["retry-after"])}
    edge.generator.hold.set()
    for job in jobs:
        await edge.client.get(f"/v1/generations/{job.json()['id']}/events")
    async with asyncio.timeout(5):
        while True:
            if (await edge.submit()).status_code == 202:
                break
            await asyncio.sleep(0.01)


async def test_pictures_that_we_could_not_begin_are_given_back(edge: Edge) -> None:
    await signed_in(edge)
    edge.services.runs.draining.set()
    for _ in range(5):
        assert (await edge.draw(n=10)).status_code == 503
    edge.services.runs.draining.clear()
    assert (await edge.draw(n=10)).status_code == 200


SHED = Failed("overloaded", "full", 3.0)


@pytest.fixture(params=["memory", "valkey"])
async def exact(request: pytest.FixtureRequest, tmp_path: Path, valkey_url: str) -> AsyncIterator[Edge]:
    """Ten pictures a minute fill every window at once: the session's, its network's and that of strangers together."""
    env = {"SFUMATO_VALKEY_URL": valkey_url} if request.param == "valkey" else {}
    policies = with_limits(network=10, budget=10)
    async with make_edge(tmp_path, Clock(), policies=policies, env=env).opened() as edge:
        await signed_in(edge)
        yield edge


async def refused_job(edge: Edge) -> None:
    edge.generator.failures = [SHED]
    reply = await edge.submit(n=10)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "3")


async def shed_job(edge: Edge) -> None:
    edge.generator.hold_queue.clear()
    edge.generator.shed = SHED
    job = (await edge.submit(n=10)).headers["location"]
    edge.generator.hold_queue.set()
    await edge.client.get(f"{job}/events")
    error = (await edge.client.get(job)).json()["error"]
    assert (error["code"], error["retry_after_s"]) == ("overloaded", 3.0)


async def refused_call(edge: Edge) -> None:
    edge.generator.failures = [SHED]
    assert (await edge.draw(n=10)).status_code == 503


async def refused_stream(edge: Edge) -> None:
    edge.generator.failures = [SHED]
    assert (await edge.draw(n=10, stream=True)).status_code == 503


@pytest.mark.parametrize("what", [refused_job, shed_job, refused_call, refused_stream], ids=lambda what: what.__name__)
async def test_pictures_that_were_refused_or_shed_are_given_back_to_every_window(
    exact: Edge, what: Callable[[Edge], Awaitable[None]]
) -> None:
    await what(exact)
    exact.generator.shed = None
    async with asyncio.timeout(5):
        while True:
            if (reply := await exact.draw(n=10)).status_code != 429:
                break
            await asyncio.sleep(0.01)  # a call's pictures come back a moment after its reply
    assert reply.status_code == 200
    assert numbers(reply, "ratelimit")["images-per-minute"]["r"] == 0
    assert (await exact.draw()).status_code == 429


async def test_strangers_together_have_a_budget_and_accounts_are_not_among_them(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(budget=12)).opened() as edge:
        assert [(await edge.draw(n=6)).status_code for _ in range(3)] == [200, 200, 429]
        reply = await edge.draw()
        assert "all callers without an account together" in reply.json()["error"]["message"]
        assert int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v1/models", "/v1/privacy/retention", "/", "/your-data", "/i/nothing"])
async def test_reading_is_limited_and_says_so(tmp_path: Path, path: str) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=5)).opened() as edge:
        replies = [await edge.client.get(path) for _ in range(12)]
        assert all("ratelimit" in reply.headers for reply in replies)
        assert {reply.status_code for reply in replies[:10]} != {429}
        assert [reply.status_code for reply in replies[10:]] == [429, 429]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/page.js", "/schema/openapi.json"])
async def test_probes_and_assets_are_not_limited(tmp_path: Path, path: str) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=2)).opened() as edge:
        assert {(await edge.client.get(path)).status_code for _ in range(10)} == {200}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz-x"),
        ("GET", "/readyz/more"),
        ("GET", "/schemata"),
        ("GET", "/schema/nothing"),
        ("GET", "/static/nothing.js"),
        ("POST", "/static/page.js"),
        ("DELETE", "/healthz"),
    ],
)
async def test_what_merely_looks_like_a_probe_or_an_asset_counts_as_a_call(
    tmp_path: Path, method: str, path: str
) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=2)).opened() as edge:
        replies = [await edge.client.request(method, path) for _ in range(6)]
        left = [int(reply.headers["x-ratelimit-remaining-requests"]) for reply in replies]
        assert left == [3, 2, 1, 0, 0, 0]


async def test_guessing_keys_is_limited(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=5)).opened() as edge:
        guess = {"authorization": "Bearer sf_live_nothing"}
        statuses = [(await edge.client.get("/v1/models", headers=guess)).status_code for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2


async def test_guessing_keys_that_could_be_ours_makes_the_database_work_no_longer_than_the_network_may_ask(
    tmp_path: Path,
) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=5)).opened() as edge:
        with statements(edge.services.database) as seen:
            statuses = [
                (await edge.client.get("/v1/models", headers=bearer(new_key_text()))).status_code for _ in range(14)
            ]
        assert statuses == [401] * 10 + [429] * 4
        assert len(seen) == 10


async def test_a_key_that_was_good_here_is_not_shut_out_by_who_guesses_beside_it(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=5)).opened() as edge:
        known, fresh = await new_key(edge), await new_key(edge)
        assert (await edge.client.get("/v1/models", headers=bearer(known))).status_code == 200
        for _ in range(12):
            await edge.client.get("/v1/models", headers=bearer(new_key_text()))
        edge.clock.advance(1)  # it is looked up again
        assert (await edge.client.get("/v1/models", headers=bearer(known))).status_code == 200
        assert (await edge.client.get("/v1/models", headers=bearer(fresh))).status_code == 429
        edge.clock.advance(120)
        assert (await edge.client.get("/v1/models", headers=bearer(fresh))).status_code == 200


async def test_a_good_key_is_charged_to_its_account_alone_once_it_is_known(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=5)).opened() as edge:
        key = await new_key(edge)
        replies = [await edge.client.get("/v1/models", headers=bearer(key)) for _ in range(20)]
        assert {reply.status_code for reply in replies} == {200}
        stranger = await edge.client.get("/nothing")
        assert stranger.headers["x-ratelimit-remaining-requests"] == "8"


async def test_two_edges_on_one_store_share_what_a_session_has(tmp_path: Path, valkey_url: str) -> None:
    clock, env = Clock(), {"SFUMATO_VALKEY_URL": valkey_url}
    policies = with_limits()
    one = make_edge(tmp_path / "home", clock, policies=policies, env=env)
    other = make_edge(tmp_path / "home", clock, policies=policies, env=env)
    async with one.opened(), other.opened():
        await signed_in(one)
        other.client.headers["authorization"] = one.client.headers["authorization"]
        replies = await asyncio.gather(*(edge.draw(n=5) for edge in (one, other, one, other)))
        assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429]


async def test_a_client_of_another_address_is_another_network(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=with_limits(network=10)).opened() as edge:
        assert (await edge.draw(n=10)).status_code == 200
        transport = ASGITransport(edge.app, client=("198.51.100.7", 1))  # pyright: ignore[reportArgumentType]
        async with AsyncClient(transport=transport, base_url=BASE_URL) as elsewhere:
            reply = await elsewhere.post("/v1/images/generations", json={"prompt": "a red apple", "n": 10})
            assert reply.status_code == 200
