"""What one edge remembers of a session is not what another edge did with it."""

from pathlib import Path

from tests.edge.edges import Clock, make_edge


async def test_a_session_that_was_erased_at_another_edge_is_written_down_with_its_next_picture(
    tmp_path: Path, database_url: str
) -> None:
    env = {"SFUMATO_DATABASE_URL": database_url}
    async with (
        make_edge(tmp_path, Clock(), env=env).opened() as here,
        make_edge(tmp_path, Clock(), env=env).opened() as there,
    ):
        drawn = await there.draw()
        for edge in (here, there):
            edge.sign_in(drawn)
        await here.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
        assert (await there.draw()).status_code == 200
        held = (await here.client.get("/v1/privacy/me")).json()["classes"]
    assert {each["name"]: each["count"] for each in held if each["name"] in ("session", "output_image")} == {
        "session": 1,
        "output_image": 1,
    }
