"""Copies of pictures for training: on whose word they were made, and how that word is taken back."""

import logging
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ConsentRow
from serve_app.errors import StoreUnavailable
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)


class WithdrawnCopy(Struct, frozen=True):
    """Where the copy lay, and since when."""

    id: str
    key: str
    given_at: int


class Withdrawn(Struct, frozen=True):
    """`copies`: those that this call was the first to withdraw. `is_complete` False: the store did not answer."""

    copies: list[WithdrawnCopy]
    is_complete: bool = True


async def withdraw(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> Withdrawn:
    """Take back the copies that `which` names: no export takes them from here on, and their objects go.

    A row loses its owner and stays `forget_after_s` to say what earlier exports must drop. Raises DatabaseUnavailable.
    """
    copies = await database.write(partial(_withdraw_rows, which=which, now=now, forget_after_s=forget_after_s))
    try:
        await store.delete([copy.key for copy in copies])
    except StoreUnavailable:
        log.warning("the store does not answer: the sweeper will remove withdrawn training copies")
        return Withdrawn(copies, is_complete=False)
    return Withdrawn(copies)


def _withdraw_rows(db: Session, which: ColumnElement[bool], now: float, forget_after_s: float) -> list[WithdrawnCopy]:
    ids = list(db.scalars(select(ConsentRow.id).where(which, ConsentRow.withdrawn_at.is_(None))))
    withdrawal = (
        update(ConsentRow)
        .where(ConsentRow.id.in_(ids), ConsentRow.withdrawn_at.is_(None))
        .values(owner_kind=None, owner_id=None, withdrawn_at=int(now), forget_at=int(now + forget_after_s))
        .returning(ConsentRow.id, ConsentRow.key, ConsentRow.given_at)
        .execution_options(synchronize_session=False)
    )
    return [WithdrawnCopy(*row) for row in db.execute(withdrawal)]
