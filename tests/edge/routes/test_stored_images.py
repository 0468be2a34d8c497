from typing import Any

import pytest
from sqlalchemy import func, select, update

from edge.db.rows import ConsentRow, ImageRow, JobRow
from edge.domain.images import NewImage, added
from tests.edge.edges import START, Edge

ME = "/v1/privacy/me"


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def drawn(edge: Edge, **fields: object) -> dict[str, Any]:
    reply = await edge.draw(**fields)
    if "authorization" not in edge.client.headers:
        edge.sign_in(reply)
    return reply.json()["data"][0]


async def shorten(edge: Edge, image_id: str, retention: object) -> Any:
    return await edge.client.patch(f"/v1/images/{image_id}", json={"retention": retention})


async def test_a_shorter_time_runs_from_storing(edge: Edge) -> None:
    made = await drawn(edge)
    edge.clock.advance(120)
    reply = await shorten(edge, made["id"], "PT5M")
    assert (reply.status_code, reply.json()["expires_at"]) == (200, START + 300)
    edge.clock.advance(179)
    assert (await edge.client.get(made["url"])).status_code == 200
    edge.clock.advance(1)
    assert (await edge.client.get(made["url"])).status_code == 410


async def test_a_time_that_has_passed_deletes_at_once_with_a_receipt(edge: Edge) -> None:
    made = await drawn(edge)
    edge.clock.advance(301)
    reply = await shorten(edge, made["id"], "PT5M")
    assert (reply.json()["object"], reply.json()["claims"]["counts"]["images"]) == ("deletion", 1)
    assert (await edge.client.get(made["url"])).status_code == 410
    assert await edge.services.store.keys("img/") == []


@pytest.mark.parametrize("retention", ["PT2H", "PT61M", "-PT5M", "none", "soon", "", 5, None])
async def test_what_is_longer_or_no_time_is_refused_by_name(edge: Edge, retention: object) -> None:
    made = await drawn(edge)
    reply = await shorten(edge, made["id"], retention)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "retention")
    assert (await edge.client.get(f"/v1/images/{made['id']}")).json()["expires_at"] == made["expires_at"]


async def test_an_unknown_field_is_refused_and_no_field_changes_nothing(edge: Edge) -> None:
    made = await drawn(edge)
    address = f"/v1/images/{made['id']}"
    refused = await edge.client.patch(address, json={"retain": "PT5M"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unknown_parameter")
    assert (await edge.client.patch(address, json={})).json()["expires_at"] == made["expires_at"]


async def test_it_can_go_with_its_download_from_now_on(edge: Edge) -> None:
    made = await drawn(edge)
    assert (await shorten(edge, made["id"], "on_download")).json()["on_download"]
    await edge.client.get(made["url"])
    shown = await edge.client.get(f"/v1/images/{made['id']}")
    assert shown.json()["expires_at"] == START + 60


async def test_other_people_s_pictures_cannot_be_shortened(edge: Edge) -> None:
    made = await drawn(edge)
    edge.sign_in(await edge.client.get("/v1/models", headers={"authorization": "Bearer anonymous"}))
    assert (await shorten(edge, made["id"], "PT1M")).status_code == 404


async def test_a_picture_whose_sibling_has_gone_is_shown_without_its_seed(edge: Edge) -> None:
    made = await drawn(edge, n=2, seed=5)
    [sibling] = [each for each in (await edge.client.get(ME)).json()["images"] if each["id"] != made["id"]]
    assert (await edge.client.get(f"/v1/images/{sibling['id']}")).json()["seed"] == 6
    await edge.client.delete(f"/v1/images/{made['id']}")
    shown = (await edge.client.get(f"/v1/images/{sibling['id']}")).json()
    assert (shown["seed"], (await edge.client.get(shown["url"])).status_code) == (None, 200)


async def test_a_picture_that_is_made_after_its_sibling_has_gone_is_written_down_without_its_seed(edge: Edge) -> None:
    made = await drawn(edge, seed=5)
    database = edge.services.database
    first = await database.read(lambda db: db.get_one(ImageRow, made["id"]))
    open_job = update(JobRow).values(status="running")
    await database.write(lambda db: db.execute(open_job))

    async def add(number: int) -> int | None:
        columns = {name: getattr(first, name) for name in ImageRow.__table__.columns.keys()}
        row = ImageRow(**{**columns, "id": f"{number:032x}", "position": number, "seed": 5 + number})
        assert await database.write(added(NewImage(row, None, int(START), siblings=number))) == []
        return await database.read(lambda db: db.scalar(select(ImageRow.seed).where(ImageRow.id == row.id)))

    assert await add(1) == 6
    await edge.client.delete(f"/v1/images/{made['id']}")
    assert await add(2) is None


async def test_whoever_holds_the_address_learns_of_the_picture_alone(edge: Edge) -> None:
    made = await drawn(edge)
    copy = ConsentRow(
        id=made["id"], owner_kind="session", owner_id="0" * 32, key=f"training/366d/20280115T0800Z/{made['id']}",
        mode="opt_out", ground="legitimate interest", given_at=int(START), delete_at=int(START) + 10**7,
    )  # fmt: skip
    await edge.services.database.write(lambda db: db.add(copy))
    claims = (await edge.client.delete(made["url"], headers={"authorization": "Bearer anonymous"})).json()["claims"]
    assert (claims["counts"]["images"], claims["counts"]["training_copies"]) == (1, 0)
    assert [each["class"] for each in claims["retained"]] == ["proofs"]
    left = await edge.services.database.read(lambda db: db.scalar(select(func.count()).select_from(ConsentRow)))
    assert left == 0, "it has gone all the same"
