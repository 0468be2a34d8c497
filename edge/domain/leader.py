"""One process at a time does what only one need do: a lease in the database, taken and renewed by compare-and-set.

Leading is for economy, not for safety: whatever a leader does must be harmless when two do it. So a database that does
not answer, or refuses, makes everybody a leader, since work that nobody does would be worse.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import LeaseRow
from edge.db.statements import add_missing, changed

log = logging.getLogger(__name__)

LEASE_S = 30
RENEW_S = 5.0


def hold(db: Session, name: str, holder: str, now: float) -> bool:
    """Take the lease where it is free, or renew it. False: somebody else has it.

    One that ends later than any given now was given by a clock that has been set back since. It is cut to a whole
    lease from now: its holder renews it, and where the holder is gone it blocks nobody for longer than that.
    """
    until_at = int(now) + LEASE_S
    add_missing(db, LeaseRow, [{"name": name, "holder": holder, "until_at": until_at}])
    lease = update(LeaseRow).where(LeaseRow.name == name).execution_options(synchronize_session=False)
    is_free = or_(LeaseRow.holder == holder, LeaseRow.until_at <= int(now))
    if changed(db, lease.where(is_free).values(holder=holder, until_at=until_at)):
        return True
    db.execute(lease.where(LeaseRow.until_at > until_at).values(until_at=until_at))
    return False


def let_go(db: Session, name: str, holder: str) -> None:
    """So that the next one need not wait."""
    db.execute(update(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder).values(until_at=0))


@asynccontextmanager
async def candidate(database: Database, name: str, clock: Callable[[], float]) -> AsyncGenerator[asyncio.Event]:
    """The event is set while this process leads."""
    holder, leads = secrets.token_hex(16), asyncio.Event()
    standing = asyncio.create_task(_stand(database, name, holder, clock, leads))
    try:
        yield leads
    finally:
        standing.cancel()
        await asyncio.wait([standing])
        await _asked(database, partial(let_go, name=name, holder=holder))


async def _stand(database: Database, name: str, holder: str, clock: Callable[[], float], leads: asyncio.Event) -> None:
    while True:
        is_held = await _asked(database, partial(hold, name=name, holder=holder, now=clock())) is not False
        if is_held and not leads.is_set():
            log.info("leads: %s", name)
            leads.set()
        elif not is_held:
            leads.clear()
        await asyncio.sleep(RENEW_S)


async def _asked(database: Database, about: Callable[[Session], bool | None]) -> bool | None:
    """None where nothing was answered."""
    try:
        return await database.write(about)
    except Exception as error:  # noqa: BLE001  whatever is wrong with the lease, the work must be done
        log.warning("the lease cannot be read or written: %s", type(error).__name__)
        return None
