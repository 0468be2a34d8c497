"""`sfumato keys` as an operator runs it, beside an edge on the same database."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.accounts import bearer
from tests.edge.edges import Clock, env_for, make_edge

KEYS = [sys.executable, "-m", "cluster.cli", "keys"]


def sfumato_keys(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **env_for(home)}
    return subprocess.run([*KEYS, *words], env=env, capture_output=True, text=True, check=False)


async def in_thread(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(sfumato_keys, home, *words)


async def test_a_key_that_an_operator_makes_works_until_it_is_revoked(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        made = await in_thread(tmp_path, "create", "--plan", "pro", "--name", "web shop", "--scope", "read")
        assert made.returncode == 0, made.stderr
        text = made.stdout.removesuffix("\n")
        assert text.startswith("sf_live_")
        assert text not in made.stderr
        assert (await edge.client.get("/v1/models", headers=bearer(text))).status_code == 200
        assert (await edge.client.get("/v1/privacy/me", headers=bearer(text))).status_code == 403
        listed = (await in_thread(tmp_path, "list")).stdout
        assert "works" in listed
        assert "web shop" in listed
        assert text not in listed
        account = listed.partition("account ")[2][:32]
        more = await in_thread(tmp_path, "create", "--account", account, "--expires", "P90D")
        assert (await edge.client.get("/v1/privacy/me", headers=bearer(more.stdout.strip()))).status_code == 200
        [key_id] = [line.split()[0] for line in listed.splitlines() if "web shop" in line]
        assert (await in_thread(tmp_path, "revoke", key_id)).returncode == 0
        edge.clock.advance(1)
        assert (await edge.client.get("/v1/models", headers=bearer(text))).status_code == 401
        assert (await in_thread(tmp_path, "revoke", key_id)).returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create",), "--plan"),
        (("create", "--plan", "anonymous"), "account, pro, api"),
        (("create", "--plan", "pro"), "there is no database"),
    ],
)
def test_what_an_operator_can_put_right_is_one_line(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    ran = sfumato_keys(tmp_path, *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
