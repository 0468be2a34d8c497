"""`sfumato keys`: accounts and their API keys. A new key is the only line on standard output."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import time
from typing import TypeVar

import msgspec
from cyclopts import App
from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.home import HomeError, own_secret
from cluster.opened_database import opened_database
from cluster.terminal import harmless, one_line
from edge.db.rows import AccountRow, ApiKeyRow
from edge.domain.accounts import add_account
from edge.domain.api_keys import MOST_KEYS, MadeKey, NewKey, TooManyKeys, add_key, revoke_key
from edge.domain.keyring import Keyring
from edge.domain.owner import KeyScope, Owner, OwnerId
from edge.errors import DatabaseUnavailable, SettingsError
from policies.load import PolicyError, load_policies

T = TypeVar("T")
USUAL: tuple[KeyScope, ...] = ("generate", "read", "privacy")

keys = App(name="keys", help="Accounts and their API keys. A key is shown once, when it is made.")


class KeyMistake(Exception):
    """What an operator can put right, in one line."""


@keys.command
def create(
    *, plan: str | None = None, account: str | None = None, name: str = "key", scope: list[KeyScope] | None = None,
    expires: str | None = None,
) -> None:  # fmt: skip
    """Make an account with a key, or one more key for an account. The key is printed, and kept nowhere.

    Parameters
    ----------
    plan
        Of `plans.toml`, for a new account.
    account
        Id of an account that exists, instead of a plan.
    name
        What people call the key.
    scope
        What it may do; say it again for each. Default: generate, read and privacy.
    expires
        After how long it ends, as P90D. Default: never.
    """
    with one_line(HomeError, SettingsError, PolicyError, DatabaseUnavailable, KeyMistake):
        now = time()
        if (plan is None) == (account is None):
            raise KeyMistake("say --plan for a new account, or --account for one that exists")
        if plan is not None:
            _require_plan(os.environ, plan)
        wanted = NewKey(name=name[:100], scopes=frozenset(scope or USUAL), expires_at=_end(expires, now))
        keyring = Keyring(own_secret(os.environ, "SFUMATO_SECRET"))
        make = partial(_make, plan=plan, account=account, wanted=wanted, keyring=keyring, now=now)
        made = asyncio.run(_write(os.environ, make))
    may = ", ".join(sorted(wanted.scopes))
    sys.stderr.write(f"key {made.row.id} of account {made.row.account_id}, which may {may}; it is shown this once:\n")
    print(made.text)  # noqa: T201  its answer


@keys.command(name="list")
def list_keys(*, account: str | None = None) -> None:
    """List the keys, each with its account, and whether it works. Never the key itself.

    Parameters
    ----------
    account
        Only this one's.
    """
    with one_line(SettingsError, DatabaseUnavailable):
        found = asyncio.run(_write(os.environ, partial(_all, account=account)))
    lines = [_line(key, plan, time()) for key, plan in found]
    print("\n".join(lines) or "there are no keys")  # noqa: T201  its answer


@keys.command
def revoke(key_id: str, /) -> None:
    """End a key for good: it is refused within a second, everywhere.

    Parameters
    ----------
    key_id
        As `list` shows it.
    """
    with one_line(SettingsError, DatabaseUnavailable, KeyMistake):
        if not asyncio.run(_write(os.environ, partial(revoke_key, key_id=key_id, now=time()))):
            raise KeyMistake("there is no such key, or it was revoked before")
    print("revoked")  # noqa: T201  its answer


def _make(db: Session, plan: str | None, account: str | None, wanted: NewKey, keyring: Keyring, now: float) -> MadeKey:
    if plan is not None:
        owner = add_account(db, plan, keyring, now)
    elif account is not None and db.get(AccountRow, account):
        owner = Owner("account", OwnerId(account))
    else:
        raise KeyMistake("there is no such account")
    try:
        return add_key(db, owner, wanted, keyring, now)
    except TooManyKeys:
        raise KeyMistake(f"this account has {MOST_KEYS} keys that work: revoke one first") from None


def _all(db: Session, account: str | None) -> list[tuple[ApiKeyRow, str]]:
    query = select(ApiKeyRow, AccountRow.plan).join(AccountRow, AccountRow.id == ApiKeyRow.account_id)
    if account is not None:
        query = query.where(ApiKeyRow.account_id == account)
    ordered = query.order_by(ApiKeyRow.account_id, ApiKeyRow.created_on, ApiKeyRow.id)
    return [(key, plan) for key, plan in db.execute(ordered)]


def _line(key: ApiKeyRow, plan: str, now: float) -> str:
    ends = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%d %H:%M") if key.expires_at else "never"
    is_over = key.expires_at is not None and key.expires_at <= now
    state = "revoked" if key.revoked_at is not None else "expired" if is_over else "works"
    used = key.last_used_on or "never"
    return (
        f"{key.id}  {state}  {key.hint}  {harmless(key.name)}\n"
        f"    account {key.account_id}, plan {plan}; {key.scopes}; made {key.created_on}, used {used}, ends {ends}"
    )


def _require_plan(env: Mapping[str, str], plan: str) -> None:
    """An account of an anonymous plan would be counted as a stranger."""
    place = env.get("SFUMATO_POLICIES")
    plans = [name for name in load_policies(Path(place) if place else None).plans.plans if name != "anonymous"]
    if plan not in plans:
        raise KeyMistake(f"no such plan for an account: {', '.join(plans)}")


def _end(expires: str | None, now: float) -> int | None:
    if expires is None:
        return None
    try:
        duration = msgspec.convert(expires, timedelta)
    except msgspec.ValidationError:
        duration = timedelta(0)
    if not timedelta(0) < duration <= timedelta(days=3650):
        raise KeyMistake("--expires is a duration such as P90D or PT12H, at most 3650 days")
    return int(now + duration.total_seconds())


async def _write(env: Mapping[str, str], work: Callable[[Session], T]) -> T:
    async with opened_database(env) as database:
        return await database.write(work)
