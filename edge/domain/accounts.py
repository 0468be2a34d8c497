"""Accounts: a random id, a plan, a viewing secret. No name, no address, no password."""

import secrets

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from edge.db.rows import AccountRow, ApiKeyRow, PasskeyRow, RecoveryCodeRow, SignInRow, ViewingSecretRow
from edge.db.statements import changed
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId
from edge.domain.sessions import day_of
from edge.domain.viewing_secrets import add_own_secret
from edge.errors import AccountGone


def add_account(db: Session, plan: str, keyring: Keyring, now: float, account_id: str | None = None) -> Owner:
    """With a viewing secret of its own. The plan is the caller's to check; the id is drawn here unless it is given."""
    account = Owner("account", OwnerId(account_id or secrets.token_hex(16)))
    db.add(AccountRow(id=account.id, plan=plan, created_on=day_of(now)))
    add_own_secret(db, account.id, keyring)
    return account


def hold_account(db: Session, account: Owner) -> None:
    """Until this transaction is over: whoever adds to it, takes from it or deletes it meanwhile, waits.

    Before any other row of the account, so that nobody waits in a circle. Raises AccountGone.
    """
    if db.scalar(select(AccountRow.id).where(AccountRow.id == account.id).with_for_update()) is None:
        raise AccountGone


def erase_account(db: Session, account: Owner) -> tuple[int, int]:
    """With keys, ways in and viewing secrets, after which nothing opens its pictures. How many accounts, how many keys.

    Of a session there are none.
    """
    keys = changed(db, delete(ApiKeyRow).where(ApiKeyRow.account_id == account.id))
    for row in (PasskeyRow, RecoveryCodeRow, SignInRow, ViewingSecretRow):
        db.execute(delete(row).where(row.account_id == account.id))
    return changed(db, delete(AccountRow).where(AccountRow.id == account.id)), keys
