"""The operator's desk: what a decision does, and that nothing is read or decided without a trace."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import date
from io import BytesIO
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from PIL import Image
from sqlalchemy import select

from cluster.complaint_desk import Desk, Removed, decide
from cluster.complaint_reader import ReadReport, read_complaint
from cluster.day_keys import DayKeys, KeyGone
from cluster.prompt_reader import CannotRead, Reading, list_reads
from edge.db.rows import ConsentRow
from edge.domain.addresses import read_address
from edge.domain.complaints import waiting_complaints
from edge.errors import NotFound
from serve_app.errors import ModerationUnavailable, StoreUnavailable
from serve_app.hash_list import HashList, nearest
from serve_app.pdq import pdq_hash
from serve_app.storage.sealing import seal
from tests.cluster.test_cli import sfumato
from tests.edge.domain.moderation.forbidden import gravest
from tests.edge.edges import START, Clock, Edge, make_edge

PUBLIC = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
WHY = Reading("ada", "her turn", START, START + 1000)
STATEMENT, CONTACT = "that is me \x1b[2J\nwithout my word", "me@example.org"


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    env = {"SFUMATO_DATABASE_URL": database_url, "SFUMATO_TRAINING_KEY": PUBLIC}
    async with make_edge(tmp_path / "home", Clock(), env=env).opened() as edge:
        yield edge


def desk_of(edge: Edge) -> Desk:
    return Desk(
        database=edge.services.database,
        store=edge.services.store,
        keys=edge.keys.of_notices,
        image_hashes=edge.home / "image-hashes.txt",
        kept=edge.services.policies.retention.classes,
    )


async def drawn(edge: Edge) -> str:
    return (await edge.draw()).json()["data"][0]["url"]


async def looking_like(edge: Edge, url: str, picture: np.ndarray[Any, Any]) -> None:
    """What is stored there is this from now on."""
    address = read_address(url.rpartition("/")[2], edge.services.keyring)
    assert address
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    await edge.services.store.put(address.key, seal(address.secret, address.key, file.getvalue()))


async def reported(edge: Edge, *urls: str) -> dict[str, Any]:
    body = {"kind": "non_consensual_imagery", "addresses": list(urls), "statement": STATEMENT, "contact": CONTACT}
    reply = await edge.client.post("/v1/reports", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def appealed(edge: Edge) -> dict[str, Any]:
    refused = await edge.draw(prompt=gravest())
    edge.sign_in(refused)
    body = {"reference": refused.json()["error"]["reference"], "statement": STATEMENT}
    return (await edge.client.post("/v1/appeals", json=body)).json()


async def waiting(edge: Edge) -> list[str]:
    return [row.id for row in await edge.services.database.read(waiting_complaints)]


async def test_an_upheld_report_removes_every_picture_that_it_names_at_once_and_lists_their_hashes(edge: Edge) -> None:
    named, others = [await drawn(edge), await drawn(edge)], await drawn(edge)
    pictures = [np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8) for seed in (1, 2)]
    for url, picture in zip(named, pictures, strict=True):
        await looking_like(edge, url, picture)
    report = await reported(edge, *named, named[0])
    removed = await decide(report["id"], "upheld", None, WHY, desk_of(edge))
    assert removed == Removed(pictures=2, hashes=2)
    assert [(await edge.client.get(url)).status_code for url in (*named, others)] == [410, 410, 200]
    assert len(await edge.services.store.keys("img/")) == 1
    listed = HashList(edge.home / "image-hashes.txt").hashes()
    assert [nearest(pdq_hash(picture), listed) for picture in pictures] == [0, 0]
    assert (await edge.client.get(report["url"])).json()["status"] == "upheld"


async def test_its_copy_for_training_goes_too(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    assert (await edge.client.put("/v1/privacy/training", json={"choice": "allow"})).status_code == 200
    report = await reported(edge, await drawn(edge))
    assert len(await edge.services.store.keys("training/")) >= 1
    before = len(await edge.services.store.keys("training/"))
    await decide(report["id"], "upheld", None, WHY, desk_of(edge))
    assert len(await edge.services.store.keys("training/")) == before - 1
    consents = await edge.services.database.read(lambda db: list(db.scalars(select(ConsentRow))))
    assert all(row.owner_id for row in consents)


async def test_a_rejected_report_changes_no_picture(edge: Edge) -> None:
    url = await drawn(edge)
    report = await reported(edge, url)
    assert await decide(report["id"], "rejected", "not you", WHY, desk_of(edge)) == Removed()
    assert (await edge.client.get(url)).status_code == 200
    assert not (edge.home / "image-hashes.txt").exists()
    assert (await edge.client.get(report["url"])).json()["answer"] == "not you"


async def test_a_report_of_what_has_gone_is_upheld_and_lists_nothing(edge: Edge) -> None:
    url = await drawn(edge)
    await edge.client.delete(url)
    report = await reported(edge, url)
    assert await decide(report["id"], "upheld", None, WHY, desk_of(edge)) == Removed()
    assert await waiting(edge) == []


async def test_the_sender_of_an_upheld_appeal_is_told(edge: Edge) -> None:
    appeal = await appealed(edge)
    await decide(appeal["id"], "upheld", "we were wrong", WHY, desk_of(edge))
    told = (await edge.client.get(appeal["url"])).json()
    assert (told["status"], told["answer"], told["closed_at"]) == ("upheld", "we were wrong", START)


async def test_what_was_said_is_shown_once_it_is_written_down(edge: Edge) -> None:
    url = await drawn(edge)
    report, appeal = await reported(edge, url), await appealed(edge)
    shown = str(await read_complaint(report["id"], WHY, edge.services.database, edge.keys.of_notices))
    assert f"picture, here when reported: /i/{url.rpartition('/')[2]}" in shown
    assert r"said: that is me \x1b[2J\nwithout my word" in shown
    assert f"contact: {CONTACT}" in shown
    shown = str(await read_complaint(appeal["id"], WHY, edge.services.database, edge.keys.of_notices))
    assert "against a prompt refused as sexual_minors" in shown
    assert r"said: that is me \x1b[2J\nwithout my word" in shown
    reads = await list_reads(edge.services.database)
    assert sorted(reads) == sorted(f"2027-01-15 08:00 UTC  {each['id']}  ada: her turn" for each in (report, appeal))


async def test_deciding_is_written_down_too(edge: Edge) -> None:
    report = await reported(edge, await drawn(edge))
    await decide(report["id"], "rejected", None, WHY, desk_of(edge))
    assert await list_reads(edge.services.database) == [f"2027-01-15 08:00 UTC  {report['id']}  ada: her turn"]


@pytest.mark.parametrize(("reader", "reason"), [("", "why"), ("ada", " "), ("a" * 65, "why"), ("ada", "r" * 201)])
async def test_without_a_name_and_a_reason_nothing_is_read_or_decided(edge: Edge, reader: str, reason: str) -> None:
    url = await drawn(edge)
    report, reading = await reported(edge, url), Reading(reader, reason, START, START)
    with pytest.raises(CannotRead):
        await read_complaint(report["id"], reading, edge.services.database, edge.keys.of_notices)
    with pytest.raises(CannotRead):
        await decide(report["id"], "upheld", None, reading, desk_of(edge))
    assert await waiting(edge) == [report["id"]]
    assert await list_reads(edge.services.database) == []
    assert (await edge.client.get(url)).status_code == 200


async def test_what_cannot_be_written_down_is_not_opened(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    report = await reported(edge, await drawn(edge))
    desk, asked = desk_of(edge), list[object]()

    async def broken(work: object) -> None:
        raise OSError

    monkeypatch.setattr(edge.services.database, "write", broken)

    def note(_: DayKeys, day: date) -> None:
        asked.append(day)

    monkeypatch.setattr(DayKeys, "private", note)
    with pytest.raises(OSError):  # noqa: PT011  ours, from above
        await read_complaint(report["id"], WHY, desk.database, desk.keys)
    with pytest.raises(OSError):  # noqa: PT011
        await decide(report["id"], "upheld", None, WHY, desk)
    assert asked == []


async def test_a_decision_is_made_once(edge: Edge) -> None:
    appeal = await appealed(edge)
    await decide(appeal["id"], "rejected", None, WHY, desk_of(edge))
    with pytest.raises(NotFound, match="decided before"):
        await decide(appeal["id"], "upheld", None, WHY, desk_of(edge))
    with pytest.raises(NotFound, match="no such"):
        await decide("f" * 32, "upheld", None, WHY, desk_of(edge))


async def test_a_store_that_does_not_answer_leaves_the_report_waiting(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = await reported(edge, await drawn(edge))

    async def down(*_: object) -> bytes:
        raise StoreUnavailable("the object store does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(edge.services.store, "get", down)
        with pytest.raises(StoreUnavailable):
            await decide(report["id"], "upheld", None, WHY, desk_of(edge))
    assert await waiting(edge) == [report["id"]]
    assert (await decide(report["id"], "upheld", None, WHY, desk_of(edge))).pictures == 1


async def test_a_list_that_nobody_understands_leaves_picture_and_report(edge: Edge) -> None:
    url = await drawn(edge)
    report = await reported(edge, url)
    (edge.home / "image-hashes.txt").write_text("no hash\n")
    with pytest.raises(ModerationUnavailable):
        await decide(report["id"], "upheld", None, WHY, desk_of(edge))
    assert (await waiting(edge), (await edge.client.get(url)).status_code) == ([report["id"]], 200)
    assert (edge.home / "image-hashes.txt").read_text() == "no hash\n"


async def test_the_keys_of_prompts_open_no_report_and_a_destroyed_key_says_so(edge: Edge) -> None:
    report = await reported(edge, await drawn(edge))
    read = await read_complaint(report["id"], WHY, edge.services.database, edge.keys.of_notices)
    assert isinstance(read, ReadReport)
    with pytest.raises(Exception, match="does not open"):
        await read_complaint(report["id"], WHY, edge.services.database, edge.keys)
    edge.keys.of_notices.destroy(read.row.made_on)
    with pytest.raises(KeyGone):
        await read_complaint(report["id"], WHY, edge.services.database, edge.keys.of_notices)


async def test_the_commands_need_no_secret_of_the_edge(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        told = sfumato("moderation", *arguments, cwd=tmp_path, SFUMATO_HOME=str(tmp_path))
        return told.stdout or told.stderr

    async with make_edge(tmp_path, Clock(time())).opened() as edge:
        url = await drawn(edge)
        report, appeal = await reported(edge, url), await appealed(edge)
        first, second = (await asyncio.to_thread(run, "queue")).splitlines()
        assert first.startswith(
            f"{report['id']}  report of non_consensual_imagery, 1 picture, 0 gone when reported, due "
        )
        assert first.endswith((", 47 hours left", ", 48 hours left"))
        assert second.startswith(f"{appeal['id']}  appeal, against a prompt refused as sexual_minors, due ")
        why = ("--reader", "ada", "--reason", "her turn")
        shown = await asyncio.to_thread(run, "show", report["id"], *why)
        assert url.rpartition("/")[2] in shown
        assert "\x1b" not in shown
        said = await asyncio.to_thread(run, "decide", report["id"], "uphold", *why)
        assert said == "upheld: pictures removed 1, hashes listed 1\n"
        assert (await edge.client.get(url)).status_code == 410
        assert len(HashList(tmp_path / "image-hashes.txt").hashes()) == 1
        said = await asyncio.to_thread(run, "decide", appeal["id"], "reject", *why, "--answer", "It stands.")
        assert said == "rejected\n"
        assert (await edge.client.get(appeal["url"])).json()["answer"] == "It stands."
        assert await asyncio.to_thread(run, "queue") == "nothing waits for a person\n"
        assert "decided before" in await asyncio.to_thread(run, "decide", appeal["id"], "uphold", *why)
