import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edge.routes.whole_delivery import DELIVERING
from serve_app.errors import StoreUnavailable
from tests.edge.edges import START, Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.edge.serving import serving


async def drawn(edge: Edge, **fields: object) -> str:
    return (await edge.draw(**fields)).json()["data"][0]["url"]


async def test_an_address_shows_the_picture_and_asks_not_to_be_kept(edge: Edge) -> None:
    reply = await edge.client.get(await drawn(edge))
    assert reply.content == PIXEL
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["cache-control"] == "private, no-store"
    assert "noindex" in reply.headers["x-robots-tag"]
    assert reply.headers["content-disposition"] == 'inline; filename="image.png"'


async def test_a_download_is_an_attachment(edge: Edge) -> None:
    reply = await edge.client.get(await drawn(edge, output_format="webp"), params={"download": "1"})
    assert reply.headers["content-disposition"] == 'attachment; filename="image.webp"'
    assert reply.headers["content-type"] == "image/webp"


async def test_head_tells_the_size_without_the_bytes(edge: Edge) -> None:
    reply = await edge.client.head(await drawn(edge))
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(PIXEL))


@pytest.mark.parametrize(
    ("asked", "part"), [("bytes=0-3", PIXEL[:4]), ("bytes=4-", PIXEL[4:]), ("bytes=-5", PIXEL[-5:])]
)
async def test_one_range_is_served(edge: Edge, asked: str, part: bytes) -> None:
    reply = await edge.client.get(await drawn(edge), headers={"range": asked})
    assert (reply.status_code, reply.content) == (206, part)
    assert reply.headers["content-range"].endswith(f"/{len(PIXEL)}")


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=-", "bytes=9999-", "items=0-1"])
async def test_any_other_range_gets_the_whole(edge: Edge, asked: str) -> None:
    assert (await edge.client.get(await drawn(edge), headers={"range": asked})).status_code == 200


async def test_a_changed_address_is_no_address(edge: Edge) -> None:
    url = await drawn(edge)
    for place in (30, 60, len(url) - 1):
        other = "A" if url[place] != "A" else "B"
        reply = await edge.client.get(url[:place] + other + url[place + 1 :])
        assert reply.status_code == 404
        assert reply.headers["content-type"] == "application/problem+json"


async def test_the_minute_it_expires_it_is_gone_even_if_nobody_swept(edge: Edge) -> None:
    url = await drawn(edge, retention="PT1M")
    edge.clock.advance(59)
    assert (await edge.client.get(url)).status_code == 200
    edge.clock.advance(1)
    reply = await edge.client.get(url)
    assert (reply.status_code, reply.json()["code"]) == (410, "gone")


async def test_whoever_holds_the_address_may_delete(edge: Edge) -> None:
    url = await drawn(edge)
    assert (await edge.client.delete(url)).status_code == 200
    assert (await edge.client.get(url)).status_code == 410
    assert (await edge.client.delete(url)).status_code == 410
    assert await edge.services.store.keys("img/") == []


async def test_an_object_that_vanished_is_gone(edge: Edge) -> None:
    url = await drawn(edge)
    await edge.services.store.delete(await edge.services.store.keys("img/"))
    assert (await edge.client.get(url)).status_code == 410


async def test_an_object_that_was_damaged_is_our_fault_and_named_by_its_id_alone(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    made = (await edge.draw()).json()["data"][0]
    (key,) = await edge.services.store.keys("img/")
    await edge.services.store.put(key, (await edge.services.store.get(key))[:-1])
    reply = await edge.client.get(made["url"])
    assert (reply.status_code, reply.json()["detail"]) == (500, "This image was damaged in the store.")
    assert "retry-after" not in reply.headers
    assert f"the stored bytes of image {made['id']} do not open" in caplog.text
    assert made["url"].rpartition("/")[2] not in caplog.text


async def test_a_deletion_holds_while_the_store_is_down(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    url = await drawn(edge)
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "delete", refuse)
        assert (await edge.client.delete(url)).status_code == 200
    assert (await edge.client.get(url)).status_code == 410
    assert len(await edge.services.store.keys("img/")) == 1


async def test_the_database_does_not_hold_the_address(edge: Edge) -> None:
    url = await drawn(edge)
    await edge.services.database.compact()
    token = url.rsplit("/", 1)[1]
    for path in edge.home.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes()
            assert PIXEL not in path.read_bytes()


async def gone_a_minute_later(edge: Edge, url: str) -> bool:
    edge.clock.advance(60)
    return (await edge.client.get(url, headers={"purpose": "prefetch"})).status_code == 410


async def test_the_first_whole_download_decides_and_later_ones_change_nothing(edge: Edge) -> None:
    url = await drawn(edge, retention="on_download")
    assert (await edge.client.get(url)).content == PIXEL
    edge.clock.advance(30)
    assert (await edge.client.get(url)).status_code == 200
    edge.clock.advance(29)
    assert (await edge.client.get(url)).status_code == 200
    edge.clock.advance(1)
    assert (await edge.client.get(url)).status_code == 410


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"range": "bytes=0-"}),
        ("GET", {"range": "bytes=0-3"}),
        ("HEAD", {}),
        ("GET", {"sec-purpose": "prefetch"}),
        ("GET", {"sec-purpose": "prefetch;prerender"}),
        ("GET", {"purpose": "prefetch"}),
    ],
)
async def test_what_is_no_whole_download_does_not_count(edge: Edge, method: str, headers: dict[str, str]) -> None:
    url = await drawn(edge, retention="on_download")
    assert (await edge.client.request(method, url, headers=headers)).status_code in (200, 206)
    assert not await gone_a_minute_later(edge, url)


async def test_what_nobody_downloads_goes_at_the_plan_s_usual_time(edge: Edge) -> None:
    made = (await edge.draw(retention="on_download")).json()["data"][0]
    assert made["expires_at"] == START + 3600
    edge.clock.advance(3600)
    assert (await edge.client.get(made["url"])).status_code == 410


async def test_a_picture_kept_for_a_time_does_not_mind_downloads(edge: Edge) -> None:
    url = await drawn(edge)
    await edge.client.get(url)
    assert not await gone_a_minute_later(edge, url)


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_only_a_download_that_arrived_whole_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_up: bool
) -> None:
    """On a real server, with a picture that no buffer on the way takes whole."""
    monkeypatch.setattr("tests.edge.scripted_generator.PIXEL", bytes(32 * 1024 * 1024))
    edge = make_edge(tmp_path, Clock())
    async with serving(edge.services) as edge.client:
        url = urlsplit(await drawn(edge, retention="on_download")).path
        async with edge.client.stream("GET", url) as reply:
            async for _ in reply.aiter_raw(1024):
                if hangs_up:
                    break
        await delivery_is_over()
        assert await gone_a_minute_later(edge, url) != hangs_up


async def delivery_is_over() -> None:
    going_on = [task for task in asyncio.all_tasks() if task.get_name() == DELIVERING]
    await asyncio.wait_for(asyncio.gather(*going_on, return_exceptions=True), 20)
