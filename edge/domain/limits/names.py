"""What buckets are called: an HMAC of the subject under a random key of the day, so that no list of addresses is kept.

A bucket is named under the key of the day it begins on. A window that reaches back over midnight needs the key of the
day before too: that is why keys live for two days, and no longer.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from edge.domain.limits.limiter import Take
from edge.domain.limits.windows import DAY_MS

KEY_BYTES = 32
NAME_BYTES = 16


class DayKeys:
    """Those of yesterday and today, as far as they are known here."""

    def __init__(self) -> None:
        self._keys: dict[int, bytes] = {}

    def key(self, day: int) -> bytes:
        """Made now where there is none: whoever did not know it has counted nothing under it."""
        return self._keys.get(day) or self.put(day, secrets.token_bytes(KEY_BYTES))

    def put(self, day: int, key: bytes) -> bytes:
        self._keys[day] = key
        for old in [known for known in self._keys if known < day - 1]:
            del self._keys[old]
        return key

    def digest(self, day: int) -> str:
        """What two who know the key can compare without saying it: as good as random, like the key."""
        return hashlib.sha1(self.key(day), usedforsecurity=False).hexdigest()

    def buckets(self, take: Take, now_ms: int) -> tuple[str, str]:
        """The former and the current one."""
        return self.all_buckets([take], now_ms)[0]

    def all_buckets(self, takes: Sequence[Take], now_ms: int) -> list[tuple[str, str]]:
        """Of many windows few are of different subjects: each is named once."""
        named: dict[tuple[str, int], str] = {}
        return [self._buckets(take, now_ms // take.window.length_ms, named) for take in takes]

    def leases(self, subject: str, now_ms: int) -> tuple[str, str]:
        """Under yesterday's name and under today's."""
        today = now_ms // DAY_MS
        return self.lease_set(subject, (today - 1) * DAY_MS), self.lease_set(subject, today * DAY_MS)

    def lease_set(self, subject: str, taken_at_ms: int) -> str:
        return f"l:{self._named(subject, taken_at_ms // DAY_MS)}:jobs"

    def _buckets(self, take: Take, index: int, named: dict[tuple[str, int], str]) -> tuple[str, str]:
        length, name = take.window.length_ms, take.window.name
        former, current = (take.subject, (index - 1) * length // DAY_MS), (take.subject, index * length // DAY_MS)
        for each in (former, current):
            if each not in named:
                named[each] = self._named(*each)
        return f"l:{named[former]}:{name}:{index - 1}", f"l:{named[current]}:{name}:{index}"

    def _named(self, subject: str, day: int) -> str:
        digest = hmac.digest(self.key(day), subject.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:NAME_BYTES]).decode().rstrip("=")
