import asyncio
import json

from serve_app.contract import Failed
from tests.edge.edges import Edge

Frame = dict[str, str]


def frames_of(text: str) -> list[Frame]:
    return [
        dict(line.split(": ", 1) for line in frame.split("\n"))
        for frame in text.split("\n\n")
        if frame and frame[0] != ":"
    ]


async def submitted(edge: Edge, **fields: object) -> str:
    reply = await edge.submit(**fields)
    edge.sign_in(reply)
    return f"/v1/generations/{reply.json()['id']}/events"


async def followed(edge: Edge, events: str, last: str | None = None) -> list[Frame]:
    headers = {"last-event-id": last} if last else {}
    return frames_of((await edge.client.get(events, headers=headers)).text)


async def test_only_states_have_ids_and_can_be_replayed(edge: Edge) -> None:
    events = await submitted(edge, n=2, partial_images=1)
    first = await followed(edge, events)
    numbered = [frame for frame in first if "id" in frame]
    assert {frame["event"] for frame in numbered} == {"queued", "image", "succeeded"}
    again = await followed(edge, events, last=numbered[1]["id"])
    assert again == numbered[2:]


async def test_a_replay_of_nothing_is_a_204_that_stops_the_browser(edge: Edge) -> None:
    events = await submitted(edge)
    last = (await followed(edge, events))[-1]["id"]
    reply = await edge.client.get(events, headers={"last-event-id": last})
    assert (reply.status_code, reply.content) == (204, b"")


async def test_a_replay_adds_addresses_only_while_the_image_lives(edge: Edge) -> None:
    events = await submitted(edge)
    frames = await followed(edge, events)
    url = json.loads(frames[-1]["data"])["images"][0]["url"]
    await edge.client.delete(url)
    frames = await followed(edge, events)
    assert json.loads(frames[-1]["data"])["images"] == []
    assert url not in json.dumps(frames)


async def test_after_ten_minutes_the_last_state_is_all_there_is(edge: Edge) -> None:
    events = await submitted(edge)
    await followed(edge, events)
    edge.clock.advance(601)
    await edge.services.runs.tick()
    [last] = await followed(edge, events)
    assert (last["event"], "id" in last) == ("succeeded", False)


async def test_a_failure_is_the_last_event(edge: Edge) -> None:
    edge.generator.failure = Failed("engine_failed", "")
    frames = await followed(edge, await submitted(edge))
    assert frames[-1]["event"] == "failed"
    assert json.loads(frames[-1]["data"])["error"]["code"] == "engine_failed"


async def test_silence_is_filled_with_heartbeats(edge: Edge) -> None:
    edge.generator.hold.clear()
    events = await submitted(edge)
    following = asyncio.create_task(edge.client.get(events))
    await edge.generator.started.wait()
    await asyncio.sleep(0.12)  # two heartbeats
    edge.generator.hold.set()
    assert ": ping\n\n" in (await following).text


async def test_the_id_of_an_event_must_be_one(edge: Edge) -> None:
    reply = await edge.client.get(await submitted(edge), headers={"last-event-id": "x"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "Last-Event-ID")
