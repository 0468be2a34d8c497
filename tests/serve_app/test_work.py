"""What a caller is told on the way, and how often."""

import msgspec

from serve_app.contract import Event, GenerateRequest, Prompt, Queued, Step, Succeeded, Turn
from serve_app.pipelines.pipeline import BatchKey, RowSpec
from serve_app.work import PROGRESS_S, QUEUE_NEWS_S, Work

REQUEST = GenerateRequest(
    job_id="gen_1",
    model="m",
    policy_digest="d",
    prompt=Prompt("a cat"),
    n=1,
    width_px=64,
    height_px=64,
    steps=4,
    guidance=1.0,
    seed=0,
    turn=Turn("anonymous", "tenant", 1.0, 60.0),
)


def key(_: RowSpec) -> BatchKey:
    return BatchKey("m", (4, 8, 8), 16)


async def told(work: Work) -> list[Event]:
    """Everything that was posted, up to a mark of our own."""
    work.outbox.post(mark := Succeeded())
    events: list[Event] = []
    while (event := await work.outbox.next()) != mark:
        events.append(event)
    return events


async def steps_told(request: GenerateRequest, at_s: list[float]) -> list[Event]:
    work, events = Work(request, key), list[Event]()
    for now_s in at_s:
        work.step_made()
        work.tell_progress(now_s)
        events += await told(work)
    return events


async def places_told(request: GenerateRequest, at_s: list[float]) -> list[Event]:
    work, events = Work(request, key), list[Event]()
    for position, now_s in enumerate(at_s):
        work.tell_place(Queued(position, 1.0), now_s)
        work.step_made()
        events += [event for event in await told(work) if isinstance(event, Queued)]
    return events


async def test_steps_are_told_ten_times_a_second_at_most_and_the_last_one_always():
    assert await steps_told(REQUEST, [0, PROGRESS_S / 2, PROGRESS_S, PROGRESS_S * 1.5]) == [
        Step(1, 4), Step(3, 4), Step(4, 4)
    ]  # fmt: skip


async def test_who_only_waits_for_the_end_hears_that_it_began_and_now_and_then_that_it_goes_on():
    quiet = msgspec.structs.replace(REQUEST, news_every_s=30.0)
    assert await steps_told(quiet, [0, 10, 31, 32]) == [Step(1, 4), Step(3, 4)]
    assert await places_told(quiet, [0, 10, 31]) == [Queued(0, 1.0), Queued(2, 1.0)]


async def test_who_waits_hears_of_the_place_twice_a_second_at_most():
    assert await places_told(REQUEST, [0, QUEUE_NEWS_S / 2, QUEUE_NEWS_S]) == [Queued(0, 1.0), Queued(2, 1.0)]
