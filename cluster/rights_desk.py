"""`sfumato requests`: the operator's desk for requests about personal data that need a person, with the law's clock."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import TypeVar

from cyclopts import App
from sqlalchemy.orm import Session

from cluster.opened_database import opened_database
from cluster.terminal import harmless, one_line
from edge.db.rows import RightsRequestRow
from edge.domain.rights_requests import answer_request, waiting_requests
from edge.errors import BadInput, DatabaseUnavailable, NotFound, SettingsError
from policies.load import PolicyError, load_policies

T = TypeVar("T")
DAY_S = 86_400

requests = App(name="requests", help="Requests about personal data that need a person, the most urgent first.")


@requests.command(name="list")
def list_requests() -> None:
    """List what waits for an answer, and until when the law lets it."""
    with one_line(SettingsError, DatabaseUnavailable):
        rows = asyncio.run(_write(os.environ, waiting_requests))
    shown = [_shown(row, time()) for row in rows]
    print("\n\n".join(shown) or "nothing waits for an answer")  # noqa: T201  its answer


@requests.command
def answer(request_id: str, /, *, text: str) -> None:
    """Answer a request and close it. Its sender reads the answer; both are forgotten after the policy's time.

    Parameters
    ----------
    request_id
        As `list` shows it.
    text
        The answer; `-` reads it from standard input.
    """
    words = sys.stdin.read() if text == "-" else text
    with one_line(SettingsError, DatabaseUnavailable, PolicyError, NotFound, BadInput):
        place = os.environ.get("SFUMATO_POLICIES")
        kept = load_policies(Path(place) if place else None).retention.classes.rights_request
        forget_after_s = kept.duration_s
        close = partial(answer_request, request_id=request_id, answer=words, now=time(), forget_after_s=forget_after_s)
        asyncio.run(_write(os.environ, close))
    print("answered")  # noqa: T201  its answer


async def _write(env: Mapping[str, str], work: Callable[[Session], T]) -> T:
    async with opened_database(env) as database:
        return await database.write(work)


def _shown(row: RightsRequestRow, now: float) -> str:
    days = int((row.due_at - now) // DAY_S)
    left = f"{days} days left" if days >= 0 else f"{-days} days late"
    due = datetime.fromtimestamp(row.due_at, UTC).date()
    return f"{row.id}  {row.kind} under {row.law}, due {due}, {left}\n{harmless(row.message)}"
