"""The database as the edge uses it: work on a session, read or written.

Writes that arrive together share one transaction, since a commit costs more than the rows in it. `work` gets a plain
session, must not keep it, and may be run a second time when a neighbour's failure undid the first.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Generic, TypeVar

from asyncpg import PostgresError
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from edge.db.rows import Base
from edge.db.statements import Share
from edge.errors import DatabaseUnavailable

T = TypeVar("T")
Work = Callable[[Session], T]
MAX_SHARED = 256
BUSY_TIMEOUT_MS = 5_000  # how long one waits for another's lock
ANSWER_S = 15.0  # whoever waits longer than this hears that there is no answer
CONNECT_S = 5.0
RETURN_POLL_S = 0.01
POSTGRESQL = {
    "timeout": CONNECT_S,
    "server_settings": {
        "lock_timeout": f"{BUSY_TIMEOUT_MS}ms",
        "idle_in_transaction_session_timeout": "60s",  # of an edge that was stopped while it held locks
    },
}
COMPACT_TIMEOUT_MS = 250
FAULTS_OF_WORK = ("22", "54")  # SQLSTATE classes: data that cannot be, limits of the program exceeded
UNAVAILABLE = (InterfaceError, InternalError, OperationalError, PoolTimeout, PostgresError, OSError)


class _Pending(Generic[T]):
    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def succeed(self, result: T) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Database:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._pending: deque[_Pending[object]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False

    async def read(self, work: Work[T]) -> T:
        """Raises DatabaseUnavailable."""
        self._require_open()
        async with _in_time():
            async with self._sessions() as session:
                return await session.run_sync(work)

    async def write(self, work: Work[T]) -> T:
        """Returns when it is durable. Raises what the work raises, or DatabaseUnavailable: then nothing of it is."""
        self._require_open()
        pending = _Pending(work)
        self._pending.append(pending)  # pyright: ignore[reportArgumentType]
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_pending())
        return await pending.done

    @property
    def overwrites(self) -> bool:
        """Whether nothing of a deleted row is left in the files after `compact`. PostgreSQL frees the space, and
        overwrites it, like its log, when it is used again."""
        return self.engine.dialect.name == "sqlite"

    async def compact(self) -> None:
        """Give up what deleted rows left in the files. Raises DatabaseUnavailable.

        That is also raised where a reader still looks at the rows as they were: nobody waits for it.
        """
        self._require_open()
        with or_unavailable():
            if self.overwrites:
                await self._empty_log()
            else:
                await self._vacuum()

    async def _empty_log(self) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(text(f"PRAGMA busy_timeout = {COMPACT_TIMEOUT_MS}"))
            try:
                is_busy, _, _ = (await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))).one()
            except BaseException:  # of a cancelled call nothing more can be asked here: it would hide that it was
                await connection.invalidate()
                raise
            await connection.execute(text(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}"))
        if is_busy:
            raise DatabaseUnavailable

    async def _vacuum(self) -> None:
        tables = ", ".join(f'"{table}"' for table in Base.metadata.tables)
        async with self.engine.connect() as connection:
            vacuuming = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await vacuuming.execute(text(f"VACUUM (SKIP_LOCKED) {tables}"))

    async def close(self) -> None:
        """Nothing begins any more; what is under way finishes: a connection that came back later would stay open."""
        self._is_closed = True
        if self._writing is not None:
            await self._writing
        with suppress(TimeoutError):  # of a database that hangs
            async with asyncio.timeout(ANSWER_S):
                while self._is_in_use:  # noqa: ASYNC110  a pool tells nobody that it is whole again
                    await asyncio.sleep(RETURN_POLL_S)
        await self.engine.dispose()

    @property
    def _is_in_use(self) -> bool:
        pool = self.engine.pool
        return isinstance(pool, QueuePool) and pool.checkedout() > 0

    def _require_open(self) -> None:
        if self._is_closed:
            raise DatabaseUnavailable

    async def _write_pending(self) -> None:
        try:
            while self._pending:
                shared = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_SHARED))]
                if len(shared) == 1 or not await self._write_together(shared):
                    for alone in shared:
                        await self._write_alone(alone)
        finally:
            self._writing = None

    async def _write_together(self, shared: list[_Pending[object]]) -> bool:
        """False when one of them was wrong, and all were undone. A database that does not answer fails them all."""
        try:
            async with _in_time():
                async with self._sessions.begin() as session:
                    results = await session.run_sync(_all_of, [pending.work for pending in shared])
        except DatabaseUnavailable:
            for pending in shared:
                pending.fail(DatabaseUnavailable())
            return True
        except Exception:  # noqa: BLE001  whose fault it was shows when each is run alone
            return False
        for pending, result in zip(shared, results, strict=True):
            pending.succeed(result)
        return True

    async def _write_alone(self, pending: _Pending[object]) -> None:
        try:
            async with _in_time():
                async with self._sessions.begin() as session:
                    result = await session.run_sync(pending.work)
        except Exception as error:  # noqa: BLE001  raised again where the work came from
            pending.fail(error)
        else:
            pending.succeed(result)


@asynccontextmanager
async def _in_time() -> AsyncGenerator[None]:
    """A database that hangs is one that does not answer: no caller and no sweep waits for it for ever."""
    with or_unavailable():
        async with asyncio.timeout(ANSWER_S):
            yield


@contextmanager
def or_unavailable() -> Generator[None]:
    """Of errors that a driver gives no kind, such as a lost connection or a deadlock, only what could never be written
    is the fault of the work: its neighbours are written without it."""
    try:
        yield
    except UNAVAILABLE as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if type(error) is DBAPIError and not _sqlstate(error).startswith(FAULTS_OF_WORK):
            raise DatabaseUnavailable from error
        raise


def _sqlstate(error: DBAPIError) -> str:
    """Empty where the driver has none."""
    return getattr(error.orig, "sqlstate", None) or ""


def _all_of(db: Session, works: Sequence[Work[object]]) -> list[object]:
    """Shares last: they touch rows that are there already."""
    results: dict[int, object] = {}
    shares: dict[Callable[..., Sequence[object]], dict[int, object]] = {}
    for place, work in enumerate(works):
        if isinstance(work, Share):
            shares.setdefault(work.for_all, {})[place] = work.given
        else:
            results[place] = work(db)
    db.flush()
    for for_all, given in shares.items():
        results |= zip(given, for_all(db, list(given.values())), strict=True)
    return [results[place] for place in range(len(works))]


def open_engine(url: str) -> AsyncEngine:
    """Parameters never appear in errors or logs."""
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    engine = create_async_engine(url, hide_parameters=True, connect_args={} if is_sqlite else POSTGRESQL)
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
