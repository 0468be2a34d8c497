import asyncio
import base64

import pytest

from serve_app.contract import Failed
from tests.edge.edges import START, Edge
from tests.edge.routes.test_image_stream import events_of
from tests.edge.scripted_generator import PIXEL


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def test_a_picture_comes_as_an_address_by_default(edge: Edge) -> None:
    reply = await edge.draw(n=2, seed=7, size="128x128")
    answer = reply.json()
    assert reply.status_code == 200
    assert (answer["created"], answer["output_format"], answer["size"]) == (int(START), "png", "128x128")
    assert [image["seed"] for image in answer["data"]] == [7, 8]
    assert all(image["expires_at"] == START + 3600 and image["native_size"] == "64x64" for image in answer["data"])
    assert all("b64_json" not in image for image in answer["data"])
    for image in answer["data"]:
        assert (await edge.client.get(image["url"])).content == PIXEL


async def test_a_picture_comes_inline_when_asked(edge: Edge) -> None:
    [image] = (await edge.draw(response_format="b64_json")).json()["data"]
    assert base64.b64decode(image["b64_json"]) == PIXEL
    assert "url" not in image
    assert image["id"]


async def test_what_is_not_to_be_stored_is_not_stored(edge: Edge) -> None:
    [image] = (await edge.draw(retention="none")).json()["data"]
    assert base64.b64decode(image["b64_json"]) == PIXEL
    assert (image["id"], image["expires_at"]) == (None, None)
    assert edge.generator.requests[0].store is None
    assert not (edge.home / "objects" / "img").exists()


async def test_the_engine_gets_every_decision_as_data(edge: Edge) -> None:
    await edge.draw(
        steps=20, guidance=3.0, negative_prompt="blue", retention="P1D", output_format="webp", output_compression=80
    )
    [request] = edge.generator.requests
    assert (request.steps, request.guidance, request.prompt.negative) == (20, 3.0, "blue")
    assert (request.output_format, request.output_compression) == ("webp", 80)
    assert request.store is not None
    assert (request.store.prefix, request.store.class_days, request.store.kept_for_s) == ("img", 2, 86400)
    assert (request.turn.traffic, request.turn.weight) == ("anonymous", 1.0)


@pytest.mark.parametrize(
    ("quality", "steps"), [("low", 4), ("medium", 12), ("standard", 12), ("high", 28), ("hd", 28), ("auto", 12)]
)
async def test_quality_stands_for_steps(edge: Edge, quality: str, steps: int) -> None:
    await edge.draw(quality=quality)
    assert edge.generator.requests[0].steps == steps


async def test_seeds_differ_unless_given(edge: Edge) -> None:
    await edge.draw()
    await edge.draw()
    first, second = edge.generator.requests
    assert first.seed != second.seed


async def test_a_cut_prompt_is_said_to_be_cut(edge: Edge) -> None:
    edge.generator.truncates = True
    assert (await edge.draw()).json()["truncated"] is True


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("overloaded", 503),
        ("model_unavailable", 503),
        ("draining", 503),
        ("policy_mismatch", 503),
        ("store_unavailable", 503),
        ("replica_lost", 503),
        ("engine_failed", 500),
        ("bad_request", 500),
    ],
)
async def test_each_failure_keeps_its_code_and_hides_its_message(edge: Edge, code: str, status: int) -> None:
    edge.generator.failure = Failed(code, "inner words")
    reply = await edge.draw()
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in reply.headers) == (status == 503)
    assert "inner words" not in reply.text


async def test_overload_says_when_to_come_back(edge: Edge) -> None:
    edge.generator.failure = Failed("overloaded", "", retry_after_s=12.3)
    assert (await edge.draw()).headers["retry-after"] == "13"


async def test_an_engine_that_raises_is_our_fault_and_no_secret(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    edge.generator.raises = RuntimeError("a red apple")
    reply = await edge.draw()
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "engine_failed")
    assert "apple" not in reply.text + caplog.text


async def test_a_plain_call_that_fails_keeps_none_of_its_pictures(edge: Edge) -> None:
    edge.generator.failure = Failed("replica_lost", "")
    edge.generator.fails_after_images = True
    reply = await edge.draw(n=3)
    assert reply.status_code == 503
    edge.sign_in(reply)
    [job] = (await edge.client.get("/v1/generations")).json()["data"]
    assert (job["status"], job["images"]) == ("failed", [])
    assert await edge.services.store.keys("img/") == []


async def test_an_owner_sees_and_deletes_an_image(edge: Edge) -> None:
    reply = await edge.draw(seed=5, steps=9)
    edge.sign_in(reply)
    [made] = reply.json()["data"]
    shown = (await edge.client.get(f"/v1/images/{made['id']}")).json()
    assert (shown["url"], shown["seed"], shown["steps"], shown["guidance"]) == (made["url"], 5, 9, 2.0)
    assert (await edge.client.delete(f"/v1/images/{made['id']}")).status_code == 200
    assert (await edge.client.get(f"/v1/images/{made['id']}")).status_code == 404
    assert (await edge.client.get(made["url"])).status_code == 410
    assert await edge.services.store.keys("img/") == []


async def test_other_people_s_images_are_as_unknown_as_unknown_ones(edge: Edge) -> None:
    [made] = (await edge.draw()).json()["data"]
    edge.sign_in(await edge.draw())
    for method in ("GET", "DELETE"):
        theirs = await edge.client.request(method, f"/v1/images/{made['id']}")
        unknown = await edge.client.request(method, f"/v1/images/{'0' * 32}")
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.json() == unknown.json()
    assert (await edge.client.get(made["url"])).status_code == 200


async def test_a_call_that_its_caller_takes_back_says_so(edge: Edge) -> None:
    edge.generator.hold.clear()
    edge.sign_in(await edge.client.get("/v1/models"))
    plain = asyncio.create_task(edge.draw())
    await edge.generator.asked(1)
    streamed = asyncio.create_task(edge.draw(stream=True))
    await edge.generator.asked(2)
    for job in (await edge.client.get("/v1/generations")).json()["data"]:
        await edge.client.delete(f"/v1/generations/{job['id']}")
    refused = await plain
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cancelled")
    [(_, last)] = events_of((await streamed).text)
    assert last == refused.json()
