"""Accounts with keys, made as the command line makes them."""

from sqlalchemy.orm import Session

from edge.domain.accounts import add_account
from edge.domain.api_keys import MadeKey, NewKey, add_key
from edge.domain.owner import Owner, OwnerId, Scope
from tests.edge.edges import Edge

ALL: tuple[Scope, ...] = ("generate", "read", "privacy", "keys")


async def new_key(
    edge: Edge, *scopes: Scope, plan: str = "api", account: Owner | None = None, expires_at: int | None = None
) -> MadeKey:
    """With all scopes, for a new account, unless told otherwise."""
    keyring, now = edge.services.keyring, edge.clock()

    def made(db: Session) -> MadeKey:
        owner = account or add_account(db, plan, keyring, now)
        wanted = NewKey(name="a key", scopes=frozenset(scopes or ALL), expires_at=expires_at)
        return add_key(db, owner, wanted, keyring, now)

    return await edge.services.database.write(made)


def account_of(key: MadeKey) -> Owner:
    return Owner("account", OwnerId(key.row.account_id))


def bearer(key: MadeKey | str) -> dict[str, str]:
    return {"authorization": f"Bearer {key if isinstance(key, str) else key.text}"}
