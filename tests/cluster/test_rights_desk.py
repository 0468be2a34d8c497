"""The operator's desk against a caller's view of the same request."""

import asyncio
from pathlib import Path
from time import time

from tests.cluster.test_cli import sfumato
from tests.edge.edges import Clock, make_edge

MESSAGE = {"kind": "objection", "law": "ccpa", "message": "look at it \x1b[2J again"}


def test_a_request_is_listed_answered_once_and_read_by_its_sender(tmp_path: Path):
    async def whole() -> None:
        async with make_edge(tmp_path, Clock(time())).opened() as edge:
            asked = await edge.client.post("/v1/privacy/requests", json=MESSAGE)
            edge.sign_in(asked)
            request_id = asked.json()["id"]
            desk = "requests", request_id
            listed = await asyncio.to_thread(run, "list")
            assert f"{request_id}  objection under ccpa" in listed
            assert "44 days left" in listed
            assert "\x1b" not in listed
            assert await asyncio.to_thread(run, "answer", desk[1], "--text", "It was a mistake.") == "answered\n"
            [seen] = (await edge.client.get("/v1/privacy/requests")).json()["data"]
            assert (seen["status"], seen["answer"]) == ("answered", "It was a mistake.")
            assert seen["forgotten_at"] - seen["closed_at"] == 180 * 86_400
            assert await asyncio.to_thread(run, "list") == "nothing waits for an answer\n"
            again = await asyncio.to_thread(run, "answer", desk[1], "--text", "Again.")
            assert again == "sfumato: no such request waits for an answer\n"

    def run(*arguments: str) -> str:
        told = sfumato("requests", *arguments, cwd=tmp_path, SFUMATO_HOME=str(tmp_path))
        return told.stdout or told.stderr

    asyncio.run(whole())
