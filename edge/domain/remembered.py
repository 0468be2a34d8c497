"""Credentials that were looked up, by the digest of their text. A good one is remembered for half a second, so that one
that was ended is refused within a second everywhere; bad ones are not, since there is no end of them. Which digests
were good stays known for longer: it proves nothing, but whoever comes with another one is a stranger here.

What a credential says is the business of `api_keys.py` and `sign_ins.py`, and so is whether its time has come.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.domain.conduct import Clock

REMEMBERED_S = 0.5
MOST_REMEMBERED = 10_000

T = TypeVar("T")
Find = Callable[[Session, bytes, float], tuple[T, bool] | None]
"""By digest, now. And whether the use of today is noted already."""
NoteUse = Callable[[Session, T, float], None]


class Remembered(Generic[T]):
    def __init__(
        self, database: Database, find: Find[T], note_use: NoteUse[T], clock: Clock, most: int = MOST_REMEMBERED
    ) -> None:
        self._database = database
        self._find = find
        self._note_use = note_use
        self._clock = clock
        self._most = most
        self._good: dict[bytes, tuple[T, float]] = {}
        self._once_good: dict[bytes, None] = {}

    async def find(self, digest: bytes) -> T | None:
        """None for every one that is not good, whatever ails it. Raises DatabaseUnavailable."""
        now = self._clock()
        self._tidy(now)
        known, since = self._good.get(digest, (None, now))
        is_fresh = known is not None and 0 <= now - since < REMEMBERED_S  # a slow look-up is remembered from its start
        return known if is_fresh else await self._looked_up(digest, now)

    def is_strange(self, digest: bytes) -> bool:
        """It was not good here before."""
        return digest not in self._once_good

    def forget(self, is_it: Callable[[T], bool]) -> None:
        """They were ended here, or what they say has changed."""
        self._good = {digest: known for digest, known in self._good.items() if not is_it(known[0])}

    async def _looked_up(self, digest: bytes, now: float) -> T | None:
        found = await self._database.read(lambda db: self._find(db, digest, now))
        self._once_good.pop(digest, None)
        if found is None:
            return None
        credential, is_used_today = found
        if not is_used_today:
            await self._database.write(lambda db: self._note_use(db, credential, now))
        self._good.pop(digest, None)
        _make_room(self._good, self._most)
        _make_room(self._once_good, self._most)
        self._good[digest], self._once_good[digest] = (credential, now), None
        return credential

    def _tidy(self, now: float) -> None:
        """The oldest stand first: what they open lies no longer in memory than it is of use."""
        while self._good:
            digest, (_, since) = next(iter(self._good.items()))
            if 0 <= now - since < REMEMBERED_S:
                return
            del self._good[digest]


def _make_room(remembered: dict[bytes, T], most: int) -> None:
    while len(remembered) >= most:
        del remembered[next(iter(remembered))]
