import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from serve_app.errors import StoreUnavailable
from tests.edge.edges import START, Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.edge.serving import serving

ME = "/v1/privacy/me"
ERASE = {"sfumato-confirm": "erase"}
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


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
    assert claims["counts"]["images"] == 1
    assert [store["is_done"] for store in claims["stores"]] == [False, True]
    assert (await edge.client.get(reply.json()["data"][0]["url"])).status_code == 410


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
