import asyncio

from serve_app.contract import Failed
from tests.edge.edges import START, Edge


async def ended(edge: Edge, job_id: str) -> dict[str, object]:
    """Waits on the events for the end, then asks for the state."""
    await edge.client.get(f"/v1/generations/{job_id}/events")
    return (await edge.client.get(f"/v1/generations/{job_id}")).json()


async def submitted(edge: Edge, **fields: object) -> str:
    reply = await edge.submit(**fields)
    if "authorization" not in edge.client.headers:
        edge.sign_in(reply)
    return reply.json()["id"]


async def test_a_job_is_accepted_and_can_be_fetched(edge: Edge) -> None:
    reply = await edge.submit(n=2, seed=4)
    edge.sign_in(reply)
    accepted = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/generations/{accepted['id']}"
    assert (accepted["status"], accepted["images"], accepted["error"], accepted["credits"]) == ("queued", [], None, 0)
    job = await ended(edge, accepted["id"])
    assert (job["status"], job["ended_at"], job["n"]) == ("succeeded", START, 2)
    images = job["images"]
    assert isinstance(images, list)
    assert [(image["index"], image["seed"]) for image in images] == [(0, 4), (1, 5)]
    assert all([(await edge.client.get(image["url"])).status_code == 200 for image in images])


async def test_a_failed_job_says_why(edge: Edge) -> None:
    edge.generator.hold.clear()
    edge.generator.failure = Failed("replica_lost", "inner words", 3.0)
    edge.generator.fails_after_images = True
    job_id = await submitted(edge)
    edge.generator.hold.set()
    job = await ended(edge, job_id)
    assert job["status"] == "failed"
    message = "The machine that was drawing was lost."
    assert job["error"] == {"code": "replica_lost", "message": message, "retry_after_s": 3.0}


async def test_a_job_that_finds_no_room_is_refused_with_the_time_that_the_queue_takes(edge: Edge) -> None:
    edge.generator.failure = Failed("overloaded", "inner words", 42.3)
    reply = await edge.submit()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "43")
    assert reply.json()["error"]["code"] == "overloaded"
    edge.sign_in(reply)
    [job] = (await edge.client.get("/v1/generations")).json()["data"]
    assert (job["status"], job["error"]["retry_after_s"]) == ("failed", 42.3)


async def test_where_a_job_waits_is_in_its_reply_and_in_headers(edge: Edge) -> None:
    edge.generator.hold_queue.clear()
    accepted = await edge.submit()
    edge.sign_in(accepted)
    shown = await edge.client.get(accepted.headers["location"])
    for reply in (accepted, shown):
        assert reply.json()["queue"] == {"position": 0, "eta_s": 1.5}
        assert reply.headers["x-sfumato-queue-position"] == "0"
        assert reply.headers["x-sfumato-queue-eta"] == "1.5"
    edge.generator.hold_queue.set()
    assert (await ended(edge, accepted.json()["id"]))["queue"] is None


async def test_the_headers_of_the_queue_are_described(edge: Edge) -> None:
    paths = (await edge.client.get("/schema/openapi.json")).json()["paths"]
    names = {"X-Sfumato-Queue-Position", "X-Sfumato-Queue-Eta"}
    assert names == set(paths["/v1/generations/{job_id}"]["get"]["responses"]["200"]["headers"])
    for path, status in (("/v1/generations", "202"), ("/v1/images/generations", "200")):
        assert all(name in paths[path]["post"]["responses"][status]["description"] for name in names)


async def test_a_running_job_is_cancelled_and_a_finished_one_deleted(edge: Edge) -> None:
    edge.generator.hold.clear()
    job_id = await submitted(edge)
    await edge.generator.started.wait()
    address = f"/v1/generations/{job_id}"
    assert (await edge.client.get(address)).json()["status"] == "running"
    assert (await edge.client.delete(address)).status_code == 200
    assert edge.generator.cancelled.is_set()
    assert (await edge.client.get(address)).json()["status"] == "cancelled"
    assert (await edge.client.delete(address)).status_code == 200
    assert (await edge.client.get(address)).status_code == 404


async def test_deleting_a_finished_job_deletes_its_images(edge: Edge) -> None:
    job_id = await submitted(edge, n=2)
    job = await ended(edge, job_id)
    await edge.client.delete(f"/v1/generations/{job_id}")
    images = job["images"]
    assert isinstance(images, list)
    assert [(await edge.client.get(image["url"])).status_code for image in images] == [410, 410]
    assert await edge.services.store.keys("img/") == []


async def test_nobody_listening_ends_a_job_that_asked_for_it(edge: Edge) -> None:
    edge.generator.hold.clear()
    job_id = await submitted(edge, cancel_when_unwatched=True)
    await asyncio.wait_for(edge.generator.cancelled.wait(), 5)
    assert (await ended(edge, job_id))["status"] == "cancelled"


async def test_a_job_runs_on_unwatched_by_default(edge: Edge) -> None:
    edge.generator.hold.clear()
    job_id = await submitted(edge)
    await edge.generator.started.wait()
    await asyncio.sleep(0.15)  # three times the patience of a job that minds
    edge.generator.hold.set()
    assert (await ended(edge, job_id))["status"] == "succeeded"


async def test_jobs_are_listed_newest_first_in_pages(edge: Edge) -> None:
    ids: list[str] = []
    for _ in range(3):
        ids.append(await submitted(edge))
        edge.clock.advance(1)
    first = (await edge.client.get("/v1/generations", params={"limit": 2})).json()
    assert ([job["id"] for job in first["data"]], first["has_more"], first["object"]) == (ids[:0:-1], True, "list")
    rest = (await edge.client.get("/v1/generations", params={"limit": 2, "after": ids[1]})).json()
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[:1], False)


async def test_other_people_s_jobs_are_as_unknown_as_unknown_ones(edge: Edge) -> None:
    theirs = await submitted(edge)
    edge.sign_in(await edge.client.get("/v1/models", headers={"authorization": "Bearer anonymous"}))
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        seen = await edge.client.request(method, f"/v1/generations/{theirs}{path}")
        unknown = await edge.client.request(method, f"/v1/generations/{'0' * 32}{path}")
        assert seen.status_code == unknown.status_code == 404
        assert seen.json() == unknown.json()
    assert (await edge.client.get("/v1/generations")).json()["data"] == []


async def test_a_dry_run_starts_nothing(edge: Edge) -> None:
    reply = await edge.client.post("/v1/generations?dry_run=true", json={"prompt": "a red apple", "n": 2})
    quote = reply.json()
    assert (reply.status_code, quote["object"], quote["credits"], quote["n"]) == (200, "quote", 0, 2)
    assert quote["eta_s"] == 12 * 4 / 24
    assert edge.generator.requests == []
