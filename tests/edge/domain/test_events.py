from edge.domain.events import MAX_WAITING_PREVIEWS, Ended, ImageReady, Listener, MemoryChannel, MemoryHub, nobody_cares
from edge.domain.owner import JobId
from serve_app.contract import Preview, Queued, Step

JOB = JobId("0" * 32)


async def taken(listener: Listener) -> list[object]:
    return [told.event for told in await listener.take(0)]


async def test_a_slow_listener_gets_the_latest_step_only() -> None:
    channel = MemoryChannel()
    listener = channel.listen()
    for done in range(1000):
        channel.publish(Step(done, 1000))
    assert await taken(listener) == [Step(999, 1000)]


async def test_states_that_nobody_fetches_do_not_pile_up() -> None:
    channel = MemoryChannel()
    listener = channel.listen()
    for position in range(1000):
        channel.publish(Queued(position, 1.0))
    channel.publish(ImageReady(0, "a"))
    assert await taken(listener) == [Queued(999, 1.0), ImageReady(0, "a")]


async def test_previews_that_nobody_fetches_do_not_pile_up() -> None:
    channel = MemoryChannel()
    listener = channel.listen()
    for number in range(1000):
        channel.publish(Preview(0, number, b""))
    previews = await taken(listener)
    assert len(previews) == MAX_WAITING_PREVIEWS
    assert previews[-1] == Preview(0, 999, b"")


async def test_a_late_listener_hears_the_states_and_where_it_is_now() -> None:
    channel = MemoryChannel()
    for event in (Queued(3, 9.0), Queued(0, 4.0), Step(1, 8), Preview(0, 0, b""), Step(5, 8), ImageReady(0, "a")):
        channel.publish(event)
    assert await taken(channel.listen()) == [Queued(0, 4.0), ImageReady(0, "a"), Step(5, 8)]


async def test_a_replay_starts_after_the_number_given() -> None:
    channel = MemoryChannel()
    listener = channel.listen()
    for event in (Queued(0, 4.0), ImageReady(0, "a"), ImageReady(1, "b"), Ended("succeeded")):
        channel.publish(event)
    numbers = [told.number for told in await listener.take(0)]
    assert numbers == [1, 2, 3, 4]
    assert await taken(channel.listen(after=2)) == [ImageReady(1, "b"), Ended("succeeded")]


async def test_nothing_to_hear_is_an_empty_list() -> None:
    assert await MemoryChannel().listen().take(0.001) == []


async def test_the_channel_says_when_the_first_comes_and_the_last_leaves() -> None:
    changes: list[bool] = []
    channel = MemoryChannel(changes.append)
    first, second = channel.listen(), channel.listen()
    first.close()
    second.close()
    assert changes == [True, False]


def test_events_go_ten_minutes_after_the_end() -> None:
    hub = MemoryHub(600.0)
    hub.open(JOB, nobody_cares)
    hub.close(JOB, now=0.0)
    hub.forget(599.0)
    assert hub.find(JOB)
    hub.forget(600.0)
    assert hub.find(JOB) is None
