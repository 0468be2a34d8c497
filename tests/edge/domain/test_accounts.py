"""An account that is deleted while something is added to it, at another edge or by who was remembered there."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from edge.db.rows import (
    AccountRow,
    ApiKeyRow,
    ImageRow,
    PasskeyRow,
    PromptRow,
    RecoveryCodeRow,
    SignInRow,
    ViewingSecretRow,
)
from edge.domain.accounts import add_account, erase_account
from edge.domain.api_keys import NewKey, add_key, replace_key
from edge.domain.lifting import lift
from edge.domain.owner import Caller, Owner
from edge.domain.passkeys import NewPasskey, add_passkey, remove_passkey
from edge.domain.recovery import replace_codes
from edge.domain.sessions import read_session
from edge.errors import AccountGone
from tests.edge.at_once import at_once
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Edge

OF_ACCOUNTS = (AccountRow, ApiKeyRow, PasskeyRow, RecoveryCodeRow, SignInRow, ViewingSecretRow)
PASSKEY = NewPasskey(bytes(32), b"", 0)
KEY = NewKey(name="a key", scopes=frozenset({"read"}))

Add = Callable[[Session], object]


async def rows(edge: Edge, *tables: type) -> dict[str, int]:
    def count(db: Session) -> dict[str, int]:
        return {row.__name__: db.scalar(select(func.count()).select_from(row)) or 0 for row in tables}

    return await edge.services.database.read(count)


def additions(edge: Edge, account: Owner, session: Caller) -> dict[str, Add]:
    keyring, now = edge.services.keyring, edge.clock()
    return {
        "passkey": partial(add_passkey, account=account, new=PASSKEY, label="a phone", now=now),
        "codes": partial(replace_codes, account=account, keyring=keyring, now=now),
        "key": partial(add_key, account=account, wanted=KEY, keyring=keyring, now=now),
        "session": partial(
            lift, session=session, account=account, keyring=keyring, now=now, proofs_kept_for_s=86_400.0
        ),
    }


async def drawn(edge: Edge) -> tuple[Browser, Caller]:
    """A session with a picture, as a browser has it and as the edge does."""
    browser = await visiting(edge)
    await browser.draw()
    return browser, session_of(browser)


def session_of(browser: Browser) -> Caller:
    session = read_session(browser.cookies["sid"], browser.edge.services.keyring, browser.edge.clock())
    assert session
    return Caller(session.owner, session.viewing_secret, browser.edge.services.anonymous_plan)


@pytest.mark.parametrize("what", ["passkey", "codes", "key", "session"])
async def test_nothing_is_added_to_an_account_that_was_deleted(edge_on_each_database: Edge, what: str) -> None:
    edge = edge_on_each_database
    database = edge.services.database
    browser, session = await drawn(edge)
    account = await database.write(lambda db: add_account(db, "account", edge.services.keyring, edge.clock()))
    await database.write(partial(erase_account, account=account))
    with pytest.raises(AccountGone):
        await database.write(additions(edge, account, session)[what])
    assert set((await rows(edge, *OF_ACCOUNTS)).values()) == {0}
    assert len((await browser.ask("GET", "/v1/privacy/me")).json()["images"]) == 1


async def test_neither_is_a_key_replaced_nor_a_passkey_removed(edge_on_each_database: Edge) -> None:
    edge = edge_on_each_database
    database, keyring, now = edge.services.database, edge.services.keyring, edge.clock()
    account = await database.write(lambda db: add_account(db, "account", keyring, now))
    made = await database.write(partial(add_key, account=account, wanted=KEY, keyring=keyring, now=now))
    await database.write(partial(erase_account, account=account))
    for work in (
        partial(replace_key, old=made.row, wanted=KEY, keyring=keyring, now=now, grace_s=0),
        partial(remove_passkey, account=account, passkey_id="x"),
    ):
        with pytest.raises(AccountGone):
            await database.write(work)


async def test_what_is_added_while_an_account_is_deleted_goes_with_it(edge_on_each_database: Edge) -> None:
    """Whichever is first: either it is added and goes, or it is refused."""
    edge = edge_on_each_database
    browser, session = await drawn(edge)
    account = await edge.services.database.write(
        lambda db: add_account(db, "account", edge.services.keyring, edge.clock())
    )
    adds = additions(edge, account, session)
    adding = at_once(edge, list(adds.values()))
    _, added = await asyncio.gather(edge.services.deletions.delete_owner(account), adding)
    refused = [isinstance(each, AccountGone) for each in added]
    assert refused == [isinstance(each, BaseException) for each in added]
    assert set((await rows(edge, *OF_ACCOUNTS)).values()) == {0}
    stays = dict(zip(adds, refused, strict=True))["session"]
    assert len((await browser.ask("GET", "/v1/privacy/me")).json()["images"]) == stays
    assert (await rows(edge, ImageRow, PromptRow)) == {"ImageRow": stays, "PromptRow": stays}
