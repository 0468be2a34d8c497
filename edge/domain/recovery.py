"""Recovery codes: for who has lost their passkeys. Shown once, each works once, and the database has digests alone.

A code is a hundred random bits, so that trying them is hopeless, and tries are counted all the same. Unknown, mistyped
and used codes are one thing: a digest that is in no row, looked up by one statement.
"""

import hmac
import re
import secrets

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from edge.db.rows import RecoveryCodeRow
from edge.db.statements import changed
from edge.domain.accounts import hold_account
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId
from edge.domain.sessions import day_of

CODES = 10
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: nothing looks like something else
CHARACTERS = 20
GROUP = 5
_LOOKS_LIKE = str.maketrans("OIL", "011")
_NOBODY = bytes(32)


def new_codes(db: Session, account: Owner, keyring: Keyring, now: float) -> list[str]:
    """The codes that were there before end."""
    db.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.account_id == account.id))
    codes = [_new_code() for _ in range(CODES)]
    for code in codes:
        digest = keyring.recovery_digest(_bare(code))
        row = RecoveryCodeRow(id=secrets.token_hex(16), account_id=account.id, digest=digest, created_on=day_of(now))
        db.add(row)
    return codes


def replace_codes(db: Session, account: Owner, keyring: Keyring, now: float) -> list[str]:
    """Of an account that was there before: whoever does so at the same time, waits. Raises AccountGone."""
    hold_account(db, account)
    return new_codes(db, account, keyring, now)


def use_code(db: Session, code: str, keyring: Keyring) -> Owner | None:
    """Whose it was; it is used up. None for any other. Raises AccountGone."""
    digest = keyring.recovery_digest(_bare(code))
    row = db.scalar(select(RecoveryCodeRow).where(RecoveryCodeRow.digest == digest))
    is_it = hmac.compare_digest(row.digest if row else _NOBODY, digest)
    if row is None or not is_it:
        return None
    account = Owner("account", OwnerId(row.account_id))
    hold_account(db, account)
    was_first = changed(db, delete(RecoveryCodeRow).where(RecoveryCodeRow.id == row.id))
    return account if was_first else None


def count_codes(db: Session, account: Owner) -> int:
    mine = RecoveryCodeRow.account_id == account.id
    return db.scalar(select(func.count()).select_from(RecoveryCodeRow).where(mine)) or 0


def _new_code() -> str:
    letters = "".join(secrets.choice(LETTERS) for _ in range(CHARACTERS))
    return "-".join(letters[start : start + GROUP] for start in range(0, CHARACTERS, GROUP))


def _bare(code: str) -> str:
    """As it is digested, however it was typed."""
    return re.sub(r"[\s-]", "", code).upper().translate(_LOOKS_LIKE)
