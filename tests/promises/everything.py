"""An edge that has kept one of each: every feature was used once, over a real S3 and a real Valkey.

A feature that keeps something new is used here, or `test_obeyed.py` finds its table empty.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from cluster.lifecycle import run_sweeper
from cluster.prompt_reader import Reading, read_prompt
from edge.domain.complaints import close, waiting_complaints
from edge.domain.reports import SweepReport, read_report
from edge.domain.rights_requests import answer_request, waiting_requests
from policies.schema import Kept
from tests.edge.domain.moderation.forbidden import gravest
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of

PUBLIC = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
PROMPT = "xylocanary on a blue background"
WAIT_S = 30


@asynccontextmanager
async def everything_kept(home: Path, env: dict[str, str]) -> AsyncGenerator[Edge]:
    """`env`: of a bucket, a counter store, policies. The caller is signed in and owns all that has an owner."""
    async with make_edge(home, Clock(), env={**env, "SFUMATO_TRAINING_KEY": PUBLIC}).opened() as edge:
        await _sweeper_leads(edge)
        reply = await edge.draw(prompt=PROMPT)
        assert reply.status_code == 200, reply.text
        edge.sign_in(reply)
        assert (await edge.client.put("/v1/privacy/training", json={"choice": "allow"})).status_code == 200
        await _job(edge)
        await _receipt(edge)
        await _answered_request(edge)
        await _reading(edge)
        await _complaints(edge, await _refused_prompt(edge))
        yield edge


async def held(edge: Edge, place: str) -> int:
    """How much lies at a place of `retention.toml`: rows of a table, or objects below a prefix that are no canaries."""
    kind, _, name = place.partition(":")
    if kind == "prefix":
        return sum("/canary/" not in key for key in await edge.services.store.keys(f"{name}/"))
    count = select(func.count()).select_from(text(name))
    return await edge.services.database.read(lambda db: db.scalar(count)) or 0


def countable(kept: Kept) -> list[str]:
    return [place for place in kept.places if place.startswith(("table:", "prefix:"))]


async def tables(edge: Edge) -> list[str]:
    """By the database itself."""
    return await edge.services.database.read(lambda db: inspect(db.connection()).get_table_names())


async def rows(edge: Edge, table: str) -> str:
    """All there is in it, to be searched."""
    return await edge.services.database.read(lambda db: str(db.execute(text(f"SELECT * FROM {table}")).all()))


async def _sweeper_leads(edge: Edge) -> None:
    """Until it has planted canaries and said in the database, which is all that it tells, how its turn was."""
    reported = partial(read_report, kind=SweepReport)
    sweeper = asyncio.create_task(run_sweeper(parts_of(edge.services, edge.keys)))
    async with asyncio.timeout(WAIT_S):
        while not await held(edge, "table:canary") or not await edge.services.database.read(reported):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await held(edge, "table:lease") == 1
    sweeper.cancel()
    await asyncio.wait([sweeper])


async def _job(edge: Edge) -> None:
    submitted = (await edge.submit(prompt=PROMPT)).json()
    async with asyncio.timeout(WAIT_S):
        events = await edge.client.get(f"/v1/generations/{submitted['id']}/events")
    assert "event: succeeded" in events.text


async def _receipt(edge: Edge) -> None:
    image = (await edge.draw(prompt=PROMPT)).json()["data"][0]
    assert (await edge.client.delete(f"/v1/images/{image['id']}")).status_code == 200


async def _answered_request(edge: Edge) -> None:
    request = {"kind": "other", "law": "gdpr", "message": "hello"}
    assert (await edge.client.post("/v1/privacy/requests", json=request)).status_code == 201
    [waiting] = await edge.services.database.read(waiting_requests)
    kept_for_s = edge.services.policies.retention.classes.rights_request.duration.total_seconds()
    answer = partial(answer_request, request_id=waiting.id, answer="yes", now=edge.clock(), forget_after_s=kept_for_s)
    await edge.services.database.write(answer)


async def _refused_prompt(edge: Edge) -> str:
    """Its reference."""
    refused = await edge.draw(prompt=f"{PROMPT} {gravest()}")
    assert refused.status_code == 400
    return refused.json()["error"]["reference"]


async def _complaints(edge: Edge, reference: str) -> None:
    """An appeal and a report, both decided."""
    address = (await edge.draw(prompt=PROMPT)).json()["data"][0]["url"]
    report = {"kind": "abuse", "addresses": [address], "statement": PROMPT, "contact": PROMPT}
    for path, body in (("appeals", {"reference": reference, "statement": PROMPT}), ("reports", report)):
        assert (await edge.client.post(f"/v1/{path}", json=body)).status_code == 201
    kept_for_s = edge.services.policies.retention.classes.notice.duration_s

    def reject(db: Session) -> None:
        for row in waiting_complaints(db):
            close(row, "rejected", "no", edge.clock(), kept_for_s)

    await edge.services.database.write(reject)


async def _reading(edge: Edge) -> None:
    kept_for_s = edge.services.policies.retention.classes.proofs.duration.total_seconds()
    reading = Reading("a person", "a test", edge.clock(), edge.clock() + kept_for_s)
    job = (await edge.client.get("/v1/generations")).json()["data"][0]
    await read_prompt(job["id"], reading, edge.services.database, edge.keys)
