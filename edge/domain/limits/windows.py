"""The arithmetic of a sliding window that is counted in two aligned buckets. Pure: no clock, no store.

What counts now is the current bucket whole, and of the former one the part that the window still covers. So a limit of
N admits exactly N from empty, and nothing doubles where one bucket ends: not at the minute, not at midnight.
"""

from msgspec import Struct

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Window(Struct, frozen=True):
    """`name` is what callers read in their headers; `unit` is what is counted."""

    name: str
    limit: int
    length_ms: int
    unit: str = "requests"


class Standing(Struct, frozen=True):
    """How full a window is at a moment. The script of `shared.py` computes `available` in the same way."""

    window: Window
    former: int
    current: int
    at_ms: int

    @property
    def available(self) -> int:
        length = self.window.length_ms
        still_counts = self.former * (length - self.at_ms % length)
        return max(0, (self.window.limit * length - still_counts) // length - self.current)

    @property
    def used(self) -> int:
        return self.window.limit - self.available

    def at(self, now_ms: int) -> "Standing":
        """Later, if nobody took anything since."""
        passed = now_ms // self.window.length_ms - self.at_ms // self.window.length_ms
        match passed:
            case 0:
                return Standing(self.window, self.former, self.current, now_ms)
            case 1:
                return Standing(self.window, self.current, 0, now_ms)
            case _:
                return Standing(self.window, 0, 0, now_ms)

    def wait_ms(self, cost: int) -> int:
        """Until so much is available, if nobody else takes any. What exceeds the limit waits for nothing: a window."""
        length, elapsed = self.window.length_ms, self.at_ms % self.window.length_ms
        free = self.window.limit - cost
        if free < 0:
            return length
        if free >= self.current:  # it is the former bucket that has to fade
            return max(0, _faded_ms(self.former, free - self.current, length) - elapsed)
        return length - elapsed + _faded_ms(self.current, free, length)

    def reset_ms(self) -> int:
        """Until there is more: where nothing is left, until one is; else until the current bucket begins to fade."""
        length = self.window.length_ms
        return self.wait_ms(1) if self.available == 0 else length - self.at_ms % length


def _faded_ms(count: int, to: int, length_ms: int) -> int:
    """How far into the next bucket `count` counts for no more than `to`."""
    return 0 if count <= to else length_ms - to * length_ms // count
