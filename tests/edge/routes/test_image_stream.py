import asyncio
import base64
import json

import pytest

from edge.domain.events import Listener, Told
from edge.domain.owner import Caller
from edge.domain.run import Run
from edge.routes import image_stream
from edge.services import Services
from serve_app.contract import Blocked, Failed
from tests.edge.edges import START, Edge
from tests.edge.scripted_generator import PIXEL


def events_of(text: str) -> list[tuple[str | None, dict[str, object]]]:
    """(event, data) of each frame; heartbeats are left out."""
    frames = [
        dict(line.split(": ", 1) for line in frame.split("\n"))
        for frame in text.split("\n\n")
        if frame and frame[0] != ":"
    ]
    return [(frame.get("event"), json.loads(frame["data"])) for frame in frames]


async def test_partial_images_come_first_and_the_finished_one_last(edge: Edge) -> None:
    reply = await edge.draw(stream=True, partial_images=2, seed=3)
    assert reply.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in events_of(reply.text)]
    assert names == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    events = [data for _, data in events_of(reply.text)]
    assert [event["type"] for event in events] == names
    assert [event.get("partial_image_index") for event in events] == [0, 1, None]
    last = events[-1]
    assert base64.b64decode(str(last["b64_json"])) == PIXEL
    assert (last["seed"], last["expires_at"], last["native_size"]) == (3, START + 3600, "64x64")
    assert (await edge.client.get(str(last["url"]))).content == PIXEL


async def test_each_of_several_images_is_completed_by_itself(edge: Edge) -> None:
    completed = [data for _, data in events_of((await edge.draw(stream=True, n=3, seed=5)).text)]
    assert [(event["index"], event["seed"]) for event in completed] == [(0, 5), (1, 6), (2, 7)]


async def test_a_cut_prompt_is_said_to_be_cut_with_each_image(edge: Edge) -> None:
    assert [data["truncated"] for _, data in events_of((await edge.draw(stream=True)).text)] == [False]
    edge.generator.truncates = True
    assert [data["truncated"] for _, data in events_of((await edge.draw(stream=True, n=2)).text)] == [True, True]


async def test_a_stream_that_is_not_stored_has_bytes_and_no_address(edge: Edge) -> None:
    [(_, completed)] = events_of((await edge.draw(stream=True, retention="none")).text)
    assert "url" not in completed
    assert completed["b64_json"]


async def test_a_stream_that_waits_says_where_in_its_headers(edge: Edge) -> None:
    edge.generator.hold_queue.clear()
    drawing = asyncio.create_task(edge.draw(stream=True))
    await edge.generator.asked(1)
    edge.generator.hold_queue.set()
    reply = await drawing
    assert reply.headers["x-sfumato-queue-position"] == "0"
    assert reply.headers["x-sfumato-queue-eta"] == "1.5"


async def test_a_refusal_at_once_is_a_status(edge: Edge) -> None:
    edge.generator.failure = Failed("overloaded", "", 7.0)
    reply = await edge.draw(stream=True)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")


async def test_a_failure_later_is_an_error_in_the_stream(edge: Edge) -> None:
    edge.generator.failure = Failed("replica_lost", "")
    edge.generator.fails_after_images = True
    events = events_of((await edge.draw(stream=True, n=2)).text)
    assert [name for name, _ in events] == ["image_generation.completed"] * 2 + [None]
    assert events[-1][1]["error"]["code"] == "replica_lost"  # pyright: ignore[reportIndexIssue]


async def test_what_a_stream_has_shown_stays_when_the_rest_fails(edge: Edge) -> None:
    edge.generator.failure = Failed("replica_lost", "")
    edge.generator.fails_after_images = True
    events = events_of((await edge.draw(stream=True)).text)
    assert (await edge.client.get(str(events[0][1]["url"]))).status_code == 200


async def test_a_slow_reader_of_images_that_were_dropped_again_hears_why(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.generator.failure, edge.generator.fails_after_images = Blocked("sexual"), True
    chunks = image_stream._chunks  # pyright: ignore[reportPrivateUsage]

    async def read_after_the_end(
        run: Run, listener: Listener, first: list[Told], caller: Caller, services: Services
    ) -> image_stream.Chunks:
        await run.finished()
        async for chunk in chunks(run, listener, first, caller, services):
            yield chunk

    monkeypatch.setattr(image_stream, "_chunks", read_after_the_end)
    [(_, told)] = events_of((await edge.draw(stream=True, n=2)).text)
    assert "moderation_blocked" in json.dumps(told)
