"""The page as a browser without scripts uses it: read a form, send it."""

import base64
import re
from collections.abc import AsyncGenerator, Sequence
from html import unescape
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from httpx2 import Response

from cluster.lifecycle import sweep_once
from policies.presets import write_preset
from serve_app.errors import ReplicaLost
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of

PAGE = "/your-data"
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


async def draw(edge: Edge, **fields: object) -> dict[str, str]:
    reply = await edge.client.post(
        "/v1/images/generations", json={"prompt": "a red apple", **fields}, headers=SAME_ORIGIN
    )
    return reply.json()["data"][0]


async def look(edge: Edge, path: str = PAGE) -> str:
    reply = await edge.client.get(path)
    assert reply.status_code == 200
    return reply.text


def form_of(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the first form that posts to `action`."""
    form = re.search(rf'<form[^>]*action="{action}">(.*?)</form>', page, re.DOTALL)
    assert form, action
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form[1])}


async def send(edge: Edge, action: str, fields: dict[str, str], **headers: str) -> Response:
    return await edge.client.post(action, data=fields, headers={**SAME_ORIGIN, **headers})


async def test_whoever_has_nothing_is_told_so_and_gets_a_cookie(edge: Edge) -> None:
    reply = await edge.client.get(PAGE)
    assert "Nothing is held of you" in reply.text
    assert reply.headers["set-cookie"].startswith("sid=sfs_")
    assert "<script" not in reply.text


async def test_pictures_are_shown_with_their_ends_and_the_export_is_a_link(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge)
    page = await look(edge)
    path = "/i/" + made["url"].rpartition("/")[2]
    assert f'<img src="{path}"' in page
    assert "gone in <time" in page
    assert 'href="/v1/privacy/me/export"' in page
    assert (await edge.client.get(path)).status_code == 200


async def test_looking_does_not_use_up_a_picture_that_goes_with_its_download(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge, retention="on_download")
    page = await look(edge)
    assert made["url"].rpartition("/")[2] not in page
    assert "so it is not shown here" in page


async def test_one_picture_is_erased_and_its_receipt_can_be_read_again(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge)
    reply = await send(edge, "/your-data/image", form_of(await look(edge), "/your-data/image"))
    assert reply.status_code == 303
    for _ in range(2):
        receipt = await look(edge, reply.headers["location"])
        assert "<strong>1</strong> picture, with its seed and settings" in receipt
    assert (await edge.client.get(made["url"])).status_code == 410


async def test_a_token_works_once_for_its_owner_and_its_purpose(edge: Edge) -> None:
    await look(edge)
    await draw(edge)
    fields = form_of(await look(edge), "/your-data/image")
    wrong_purpose = await send(edge, "/your-data/erase", {"token": fields["token"]})
    assert (wrong_purpose.status_code, "Nothing has changed" in wrong_purpose.text) == (409, True)
    assert (await send(edge, "/your-data/image", fields)).status_code == 303
    await draw(edge)
    assert (await send(edge, "/your-data/image", fields)).status_code == 409
    theirs = form_of(await look(edge), "/your-data/image")
    edge.client.cookies.clear()
    await look(edge)
    assert (await send(edge, "/your-data/image", theirs)).status_code == 409


async def test_a_page_that_was_open_too_long_changes_nothing(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge)
    fields = form_of(await look(edge), "/your-data/image")
    edge.clock.advance(15 * 60)
    assert (await send(edge, "/your-data/image", fields)).status_code == 409
    assert (await edge.client.get(made["url"])).status_code == 200


async def test_everything_is_erased_after_a_step_of_its_own(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge)
    step = await look(edge, "/your-data/erase")
    assert "<strong>1</strong> picture, with its seed and settings" in step
    reply = await send(edge, "/your-data/erase", form_of(step, "/your-data/erase"))
    assert reply.status_code == 303
    assert reply.headers["clear-site-data"] == '"cache", "cookies", "storage"'
    assert "sid" not in edge.client.cookies
    receipt = await look(edge, reply.headers["location"])
    assert "sealed prompt" in receipt
    assert (await edge.client.get(made["url"])).status_code == 410
    assert "Nothing is held of you" in await look(edge)


async def test_the_step_promises_only_what_an_erasure_does(edge: Edge) -> None:
    fields = form_of(await look(edge), "/your-data/request")
    await send(edge, "/your-data/request", {**fields, "kind": "review", "law": "gdpr", "message": "look"})
    step = await look(edge, "/your-data/erase")
    assert "What stays, and no longer says whose it is: 1 of this kind. A request about personal data" in step
    assert "<li>" not in step


async def test_the_page_s_token_confirms_an_erasure_by_the_api_too(edge: Edge) -> None:
    await look(edge)
    await draw(edge)
    token = form_of(await look(edge, "/your-data/erase"), "/your-data/erase")["token"]
    for status in (200, 400):
        headers = {"sfumato-confirm": token, "cookie": f"sid={edge.client.cookies['sid']}", **SAME_ORIGIN}
        reply = await edge.client.delete("/v1/privacy/me", headers=headers)
        assert reply.status_code == status
        edge.client.cookies.set("sid", headers["cookie"].removeprefix("sid="))


async def test_another_site_cannot_send_the_forms(edge: Edge) -> None:
    await look(edge)
    await draw(edge)
    fields = form_of(await look(edge), "/your-data/image")
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        reply = await send(edge, "/your-data/image", fields, **headers)
        assert reply.status_code == 403


async def test_global_privacy_control_is_seen_and_said(edge: Edge) -> None:
    page = await edge.client.get(PAGE, headers={"sec-gpc": "1"})
    assert "It is seen and obeyed" in page.text
    assert 'name="choice"' not in page.text
    assert "It is seen and obeyed" not in await look(edge)


async def test_a_request_for_a_person_is_kept_with_its_date(edge: Edge) -> None:
    fields = form_of(await look(edge), "/your-data/request")
    reply = await send(
        edge, "/your-data/request", {**fields, "kind": "review", "law": "gdpr", "message": "<b>look</b>"}
    )
    assert (reply.status_code, reply.headers["location"]) == (303, "/your-data#requests")
    page = await look(edge)
    assert "due <time" in page
    assert "&lt;b&gt;look&lt;/b&gt;" in page


LONG = "Please look.\r\n" * 284  # 4 260 letters as a browser sends them, 3 976 as a person counts


async def test_lines_count_as_their_writer_counts_them(edge: Edge) -> None:
    fields = form_of(await look(edge), "/your-data/request")
    reply = await send(edge, "/your-data/request", {**fields, "kind": "review", "law": "gdpr", "message": LONG[:4250]})
    assert reply.status_code == 303
    assert LONG[:4250].replace("\r\n", "\n").strip() in await look(edge)


@pytest.mark.parametrize(
    ("message", "token", "why"),
    [
        ("x" * 4001, None, "at most 4000 letters, and this one has 4001"),
        ("look", "", "open for too long"),
        ("look", "x" * 500, "open for too long"),
    ],
)
async def test_what_was_written_is_never_lost(edge: Edge, message: str, token: str | None, why: str) -> None:
    fields = form_of(await look(edge), "/your-data/request")
    if token is not None:
        fields["token"] = token
    reply = await send(edge, "/your-data/request", {**fields, "kind": "review", "law": "ccpa", "message": message})
    assert reply.status_code == 409
    assert why in reply.text
    assert f">\n{message}</textarea>" in reply.text
    assert "<option selected>review</option>" in reply.text
    assert '<option value="ccpa" selected>' in reply.text
    assert "<details open>" in reply.text


async def test_the_eleventh_open_request_comes_back_with_its_words(edge: Edge) -> None:
    for n in range(11):
        fields = form_of(await look(edge), "/your-data/request")
        reply = await send(
            edge, "/your-data/request", {**fields, "kind": "other", "law": "gdpr", "message": f"no. {n}"}
        )
    assert (reply.status_code, "no. 10</textarea>" in reply.text) == (409, True)


async def test_a_form_without_its_token_changes_nothing_and_says_so(edge: Edge) -> None:
    await look(edge)
    made = await draw(edge)
    for action, fields in (("image", {"image": made["id"]}), ("erase", {}), ("training", {"choice": "deny"})):
        reply = await send(edge, f"/your-data/{action}", fields)
        assert (reply.status_code, "Nothing has changed" in reply.text) == (409, True)
    assert (await edge.client.get(made["url"])).status_code == 200


async def test_kinds_of_which_nothing_is_held_are_folded_away(edge: Edge) -> None:
    nothing = await look(edge)
    assert 'class="classes held"' not in nothing
    assert "<summary>Nothing of any of these kinds</summary>" in nothing
    await draw(edge)
    page = await look(edge)
    assert 'data-says="How many">1<' in page
    assert 'data-says="How many">none' not in page
    assert "<summary>Of all other kinds, nothing</summary>" in page
    assert "the minute its caller chose, from" not in page


async def test_pages_and_receipts_say_the_times_of_the_policy(tmp_path: Path) -> None:
    write_preset("european", tmp_path / "policies")
    file = tmp_path / "policies" / "retention.toml"
    text = re.sub(r'(?s)(\[classes.proofs\].*?kept_for = )"P365D"', r'\1"P32D"', file.read_text())
    file.write_text(re.sub(r'(?s)(\[classes.rights_request\].*?kept_for = )"P180D"', r'\1"P20D"', text))
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_POLICIES": str(tmp_path / "policies")}).opened() as edge:
        fields = form_of(await look(edge), "/your-data/request")
        await send(edge, "/your-data/request", {**fields, "kind": "review", "law": "gdpr", "message": "look"})
        await draw(edge)
        fields = form_of(await look(edge, "/your-data/erase"), "/your-data/erase")
        page = await look(edge, (await send(edge, "/your-data/erase", fields)).headers["location"])
    assert "read again by its address, for 32 days." in page
    assert "20 days after its closing" in page
    for number in ("180 days", "for a year", "365 days"):
        assert number not in page


@pytest.mark.parametrize("path", ["/your-data/receipts/" + "0" * 32, "/your-data/receipts/x"])
async def test_a_receipt_that_is_not_there_is_not_found(edge: Edge, path: str) -> None:
    assert (await edge.client.get(path)).status_code == 404


PUBLIC = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


@pytest.fixture
async def copying(tmp_path: Path) -> AsyncGenerator[Edge]:
    """An edge that lets pictures be copied for training."""
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_TRAINING_KEY": PUBLIC}).opened() as edge:
        yield edge


async def copies(edge: Edge) -> int:
    return len(await edge.services.store.keys("training/"))


async def test_a_no_takes_copies_back_and_leads_to_its_receipt(copying: Edge) -> None:
    await look(copying)
    await draw(copying)
    fields = form_of(await look(copying), "/your-data/training") | {"choice": "deny"}
    reply = await send(copying, "/your-data/training", fields)
    assert reply.headers["location"].startswith("/your-data/receipts/")
    assert await copies(copying) == 0
    fields = form_of(await look(copying), "/your-data/training") | {"choice": "deny"}
    assert (await send(copying, "/your-data/training", fields)).headers["location"] == "/your-data#training"


async def test_who_sends_global_privacy_control_can_take_back_what_was_copied_before(copying: Edge) -> None:
    gpc = {"sec-gpc": "1"}
    await look(copying)
    await draw(copying)
    page = (await copying.client.get(PAGE, headers=gpc)).text
    assert "Take back what there is" in page
    assert "Yes, they may be copied" not in page
    await send(copying, "/your-data/training", form_of(page, "/your-data/training"), **gpc)
    assert await copies(copying) == 0
    assert "Take back what there is" not in (await copying.client.get(PAGE, headers=gpc)).text


async def test_a_copy_whose_picture_has_gone_is_shown_and_deleted_alone(copying: Edge) -> None:
    await look(copying)
    first, second = await draw(copying), await draw(copying)
    copying.clock.advance(2 * 3600)
    page = await look(copying)
    for made in (first, second):
        assert made["id"] in page
    reply = await send(copying, "/your-data/image", form_of(page, "/your-data/image"))
    assert reply.headers["location"].startswith("/your-data/receipts/")
    [left] = (await copying.client.get("/v1/privacy/me")).json()["copies"]
    reply = await copying.client.delete(f"/v1/images/{left['id']}", headers=SAME_ORIGIN)
    assert reply.json()["claims"]["counts"]["training_copies"] == 1
    assert await copies(copying) == 0
    assert (await copying.client.delete(f"/v1/images/{left['id']}", headers=SAME_ORIGIN)).status_code == 404


async def test_a_no_whose_edge_dies_before_the_objects_went_is_finished_by_the_sweeper(
    copying: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(_keys: Sequence[str]) -> None:
        raise ReplicaLost("gone")

    copying.sign_in(await copying.draw())
    with monkeypatch.context() as dying:
        dying.setattr(copying.services.store, "delete", die)
        await copying.client.put("/v1/privacy/training", json={"choice": "deny"})
    standing = (await copying.client.get("/v1/privacy/training")).json()
    assert (standing["choice"], standing["copies"], await copies(copying)) == ("deny", 0, 1)
    await sweep_once(parts_of(copying.services, copying.keys))
    assert await copies(copying) == 0
