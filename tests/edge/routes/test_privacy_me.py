import io
import json
import sqlite3
import zipfile
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select, update

from cluster.lifecycle import sweep_once
from cluster.prompt_reader import Reading, read_prompt
from edge.db.rows import ImageRow, PromptRow
from edge.errors import DatabaseUnavailable
from serve_app.errors import StoreUnavailable
from tests.edge.edges import START, Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.edge.serving import serving
from tests.sweeping import parts_of

ME = "/v1/privacy/me"
ERASE = {"sfumato-confirm": "erase"}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def images(edge: Edge) -> list[ImageRow]:
    return await edge.services.database.read(lambda db: list(db.scalars(select(ImageRow))))


async def counts(edge: Edge) -> dict[str, int]:
    held = (await edge.client.get(ME)).json()
    return {each["name"]: each["count"] for each in held["classes"] if each["count"]}


def unzipped(reply: Response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def test_everything_held_is_counted_by_class_with_its_ends(edge: Edge) -> None:
    edge.sign_in(await edge.draw(n=2))
    await edge.draw(retention="PT10M")
    held = (await edge.client.get(ME)).json()
    by_name: dict[str, dict[str, Any]] = {each["name"]: each for each in held["classes"]}
    assert (held["as_of"], held["owner"]) == (START, "session")
    assert by_name["output_image"]["count"] == by_name["job_and_image_rows"]["count"] == 3
    assert by_name["output_image"]["first_ends_at"] == START + 600
    assert by_name["output_image"]["last_ends_at"] == START + 3600
    assert by_name["moderation_prompt"]["count"] == by_name["job_state"]["count"] == 2
    assert by_name["moderation_prompt"]["last_ends_at"] == START + 30 * 86_400
    assert by_name["training_copy"]["count"] == 0
    assert len(held["images"]) == 3


async def test_whoever_has_nothing_reads_the_same_sentence(edge: Edge) -> None:
    nothing = (await edge.client.get(ME)).json()
    edge.sign_in(await edge.draw())
    something = (await edge.client.get(ME)).json()
    assert nothing["undisclosed"] == something["undisclosed"] == edge.services.policies.retention.undisclosed
    assert [each["name"] for each in nothing["classes"]] == [each["name"] for each in something["classes"]]
    assert not any(each["count"] for each in nothing["classes"])


async def test_whoever_s_prompt_was_read_sees_when_and_not_what_for(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    [prompt] = await edge.services.database.read(lambda db: list(db.scalars(select(PromptRow))))
    assert (await edge.client.get(ME)).json()["prompts_read_at"] == []
    reading = Reading("ada", "report 17", edge.clock(), edge.clock() + 1000)
    await read_prompt(prompt.id, reading, edge.services.database, edge.keys)
    held = await edge.client.get(ME)
    exported = unzipped(await edge.client.get(f"{ME}/export"))["data.json"]
    assert held.json()["prompts_read_at"] == [START]
    assert json.loads(exported)["rows"]["prompt_read"] == [
        {"prompt_id": prompt.id, "read_at": "2027-01-15T08:00:00+00:00"}
    ]
    assert "report 17" not in held.text + exported.decode()
    edge.sign_in(await edge.client.get("/v1/models", headers={"authorization": "Bearer anonymous"}))
    assert (await edge.client.get(ME)).json()["prompts_read_at"] == []


async def test_a_picture_under_way_is_counted_too(edge: Edge) -> None:
    edge.generator.hold.clear()
    edge.sign_in(await edge.submit())
    await edge.generator.started.wait()
    assert (await counts(edge))["waiting_prompt"] == 1
    edge.generator.hold.set()


async def test_an_export_holds_every_record_and_every_picture(edge: Edge) -> None:
    reply = await edge.draw(n=2, seed=5)
    edge.sign_in(reply)
    exported = await edge.client.get(f"{ME}/export")
    assert exported.headers["content-type"] == "application/zip"
    assert exported.headers["content-disposition"] == 'attachment; filename="sfumato-export.zip"'
    files = unzipped(exported)
    ids = {image["id"] for image in reply.json()["data"]}
    assert set(files) == {"data.json", "README.txt", *(f"pictures/{each}.png" for each in ids)}
    assert all(files[f"pictures/{each}.png"] == PIXEL for each in ids)
    data = json.loads(files["data.json"])
    assert {image["seed"] for image in data["rows"]["image"]} == {5, 6}
    assert len(data["rows"]["prompt"]) == 1
    assert b"apple" not in files["data.json"]
    assert "1 records are kept for moderation" in files["README.txt"].decode()
    assert edge.services.policies.retention.undisclosed in files["README.txt"].decode()


async def test_a_picture_that_goes_meanwhile_is_left_out_and_named(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = await edge.draw(n=3)
    edge.sign_in(reply)
    get, asked = edge.services.store.get, list[str]()

    async def vanish(key: str) -> bytes:
        asked.append(key)
        if len(asked) == 2:
            await edge.services.store.delete([key])
        if len(asked) == 3:
            raise StoreUnavailable("down")
        return await get(key)

    monkeypatch.setattr(edge.services.store, "get", vanish)
    files = unzipped(await edge.client.get(f"{ME}/export"))
    assert len([name for name in files if name.startswith("pictures/")]) == 1
    told = files["README.txt"].decode()
    assert f"{asked[1].rpartition('/')[2]}: it went while this export was made" in told
    assert f"{asked[2].rpartition('/')[2]}: the object store did not answer" in told


async def test_an_export_of_what_was_brought_along_a_moment_ago_is_refused_whole(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    brought = update(ImageRow).values(viewing_secret_id="1" * 32)  # by another edge, and not known here yet
    await edge.services.database.write(lambda db: db.execute(brought))
    refused = await edge.client.get(f"{ME}/export")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")


async def test_an_export_is_no_download_that_uses_a_picture_up(edge: Edge) -> None:
    reply = await edge.draw(retention="on_download")
    edge.sign_in(reply)
    files = unzipped(await edge.client.get(f"{ME}/export"))
    assert PIXEL in files.values()
    assert (await edge.client.get(ME)).json()["images"][0] == {
        "id": reply.json()["data"][0]["id"],
        "expires_at": START + 3600,
        "on_download": True,
    }


async def test_a_client_that_leaves_an_export_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.edge.scripted_generator.PIXEL", bytes(8 * 1024 * 1024))
    edge = make_edge(tmp_path, Clock())
    async with serving(edge.services) as edge.client:
        edge.sign_in(await edge.draw(n=3))
        for _ in range(3):
            async with edge.client.stream("GET", f"{ME}/export") as reply:
                await anext(reply.aiter_raw())
        assert len(unzipped(await edge.client.get(f"{ME}/export"))) == 5


@pytest.mark.parametrize("header", [{}, {"sfumato-confirm": "yes"}, {"sfumato-confirm": "A" * 68}])
async def test_erasing_everything_wants_to_be_said(edge: Edge, header: dict[str, str]) -> None:
    edge.sign_in(await edge.draw())
    reply = await edge.client.delete(ME, headers=header)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "Sfumato-Confirm")
    assert (await counts(edge))["output_image"] == 1


async def test_erasing_takes_everything_and_says_what_stays(edge: Edge) -> None:
    reply = await edge.draw(n=2)
    edge.sign_in(reply)
    request = {"kind": "access", "law": "gdpr", "message": "please"}
    await edge.client.post("/v1/privacy/requests", json=request)
    claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
    assert claims["scope"] == "session"
    assert claims["counts"] == {
        "images": 2,
        "generations": 1,
        "prompts": 1,
        "training_copies": 0,
        "sessions": 1,
        "rights_requests": 1,
        "accounts": 0,
        "api_keys": 0,
        "moderation_decisions": 0,
        "notices": 0,
    }
    assert [each["class"] for each in claims["retained"]] == ["rights_request", "proofs"]
    assert claims["backups_gone_by"] == START + 31 * 86_400
    assert await counts(edge) == {}
    assert [(await edge.client.get(each["url"])).status_code for each in reply.json()["data"]] == [410, 410]
    assert await edge.services.store.keys("img/") == []


async def test_what_is_being_drawn_is_cancelled_with_the_rest(edge: Edge) -> None:
    edge.generator.hold.clear()
    edge.sign_in(await edge.submit())
    await edge.generator.started.wait()
    claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
    assert edge.generator.cancelled.is_set()
    assert (claims["counts"]["generations"], claims["counts"]["prompts"]) == (1, 1)
    assert await counts(edge) == {}


async def test_erasing_again_finds_nothing_and_the_session_may_go_on(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    await edge.client.delete(ME, headers=ERASE)
    again = await edge.client.delete(ME, headers=ERASE)
    assert (again.status_code, again.json()["claims"]["classes"]) == (200, [])
    await edge.draw()
    assert (await counts(edge))["session"] == 1


async def test_a_store_that_is_down_is_said_in_the_receipt_and_nobody_sees_the_picture(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    reply = await edge.draw()
    edge.sign_in(reply)
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "delete", refuse)
        claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
        held = await counts(edge)
        data = json.loads(unzipped(await edge.client.get(f"{ME}/export"))["data.json"])
    assert claims["counts"]["images"] == 1
    assert [store["is_done"] for store in claims["stores"]] == [False, False]
    assert (held, data["rows"]["image"]) == ({}, [])
    assert (await edge.client.get(reply.json()["data"][0]["url"])).status_code == 410
    [left] = await images(edge)
    assert (left.owner_kind, left.owner_id, left.seed) == (None, None, None), "a bare row waits for its object"
    assert (await sweep_once(parts_of(edge.services, edge.keys))).is_complete
    assert (await images(edge), await edge.services.store.keys("img/")) == ([], [])


async def test_a_store_that_is_down_is_asked_once_while_a_person_waits(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def refuse(keys: object) -> None:
        asked.append(keys)
        raise StoreUnavailable("down")

    edge.sign_in(await edge.draw(n=4))
    monkeypatch.setattr("edge.domain.erasure.BATCH", 1)
    monkeypatch.setattr(edge.services.store, "delete", refuse)
    claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
    assert (claims["counts"]["images"], len(asked)) == (4, 1)


@pytest.mark.parametrize("fails", ["_delete_rows", "complete_receipt"])
async def test_a_database_that_fails_after_the_first_word_leaves_a_receipt_that_says_so(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    write = edge.services.database.write

    async def break_off(work: Any) -> Any:
        if isinstance(work, partial) and work.func.__name__ == fails:
            raise DatabaseUnavailable
        return await write(work)

    reply = await edge.draw(n=2)
    edge.sign_in(reply)
    with monkeypatch.context() as down:
        down.setattr(edge.services.database, "write", break_off)
        deleted = await edge.client.delete(f"/v1/images/{reply.json()['data'][0]['id']}")
    claims = deleted.json()["claims"]
    assert (deleted.status_code, claims["counts"]["images"]) == (200, 1)
    assert [store["is_done"] for store in claims["stores"]] == [False, False]
    kept = (await edge.client.get(f"/v1/privacy/receipts/{claims['jti']}")).json()
    assert (kept["receipt"], kept["looked_for_until"] is None) == (deleted.json()["receipt"], False)
    await sweep_once(parts_of(edge.services, edge.keys))
    assert len(await images(edge)) == len(await edge.services.store.keys("img/")) == 1


async def test_a_database_that_fails_before_has_deleted_nothing(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object) -> None:
        raise DatabaseUnavailable

    edge.sign_in(await edge.draw())
    with monkeypatch.context() as down:
        down.setattr(edge.services.database, "write", fail)
        assert (await edge.client.delete(ME, headers=ERASE)).status_code == 503
    assert (await counts(edge))["output_image"] == 1
    assert (await edge.client.delete(ME, headers=ERASE)).json()["claims"]["counts"]["images"] == 1


async def test_a_generation_that_starts_meanwhile_goes_whole_or_stays_whole(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, stays = edge.services.database.write, list[str]()

    async def late(work: Any) -> Any:
        if isinstance(work, partial) and work.func.__name__ == "_begin":
            monkeypatch.setattr(edge.services.database, "write", write)
            assert (await edge.draw()).status_code == 200
            edge.generator.hold.clear()
            stays.append((await edge.submit(n=2)).json()["id"])
        return await write(work)

    edge.sign_in(await edge.draw())
    monkeypatch.setattr(edge.services.database, "write", late)
    claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
    counted = claims["counts"]
    assert (counted["images"], counted["generations"], counted["prompts"], counted["sessions"]) == (2, 2, 2, 0)
    edge.generator.hold.set()
    await edge.client.get(f"/v1/generations/{stays[0]}/events")
    left = await counts(edge)
    assert (left["output_image"], left["job_state"], left["moderation_prompt"], left["session"]) == (2, 1, 1, 1)
    assert len(await edge.services.store.keys("img/")) == 2


async def test_after_each_deletion_nothing_is_left_in_the_files(edge: Edge) -> None:
    seed = 0x1D_C0FF_EE15_6A7B
    reply = await edge.draw(seed=seed)
    edge.sign_in(reply)
    claims = (await edge.client.delete(f"/v1/images/{reply.json()['data'][0]['id']}")).json()["claims"]
    assert [store["is_done"] for store in claims["stores"]] == [True, True]
    if edge.services.database.overwrites:
        assert claims["stores"][1]["method"] == "rows are deleted and overwritten"
        assert not [file for file in edge.home.rglob("*.db*") if seed.to_bytes(7, "big") in file.read_bytes()]
    else:
        assert "when it uses them again" in claims["stores"][1]["method"]


async def test_somebody_who_reads_delays_the_overwriting_and_nobody_s_answer(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        edge.sign_in(await edge.draw())
        with closing(sqlite3.connect(tmp_path / "sfumato.db")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM image").fetchone()
            began_at = monotonic()
            claims = (await edge.client.delete(ME, headers=ERASE)).json()["claims"]
            assert monotonic() - began_at < 2
            assert [store["is_done"] for store in claims["stores"]] == [True, False]
            assert "traces in the database" in (await sweep_once(parts_of(edge.services, edge.keys))).left
        assert (await sweep_once(parts_of(edge.services, edge.keys))).is_complete


async def test_a_browser_forgets_its_cookie_and_a_program_is_told_nothing_of_the_kind(edge: Edge) -> None:
    await edge.client.get("/")
    browser = await edge.client.delete(ME, headers={**ERASE, **SAME_ORIGIN})
    assert browser.headers["clear-site-data"] == '"cache", "cookies", "storage"'
    assert "max-age=0" in browser.headers["set-cookie"].lower()
    edge.client.cookies.clear()
    edge.sign_in(await edge.draw())
    program = await edge.client.delete(ME, headers=ERASE)
    assert "clear-site-data" not in program.headers
    assert "set-cookie" not in program.headers


async def test_another_site_cannot_erase_through_a_visitor_s_browser(edge: Edge) -> None:
    await edge.client.get("/")
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {}):
        assert (await edge.client.delete(ME, headers={**ERASE, **headers})).status_code == 403
