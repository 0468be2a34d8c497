"""How long a pass takes, learned from the passes themselves, and the batch size that follows from it.

Pure arithmetic on observations. Sizes are forward rows: a row with guidance counts as two.
"""

from dataclasses import dataclass, field

from serve_app.pipelines.pipeline import BatchKey

UNKNOWN_ROW_S = 0.05  # a guess for the very first pass of a process, replaced by its measurement
NEW_SHARE = 0.2  # weight of the newest observation in the running mean
NEAR_BEST = 0.97  # a smaller batch within 3 % of the best throughput is better: its rows finish sooner


def ladder(limit: int) -> list[int]:
    """Sizes worth telling apart, a third or a half apart, up to and including `limit`: 1 2 3 4 6 8 12 16 …"""
    sizes = {limit}
    power = 1
    while power <= limit:
        sizes |= {power, power * 3 // 2}
        power *= 2
    return sorted(size for size in sizes if size <= limit)


@dataclass(slots=True)
class _Measured:
    """What is known of one batch key: seconds by size, and the limit that running out of memory has taught."""

    seconds: dict[int, float] = field(default_factory=dict[int, float])
    memory_limit: int | None = None


class StepTimes:
    """Step time by batch key and size. `max_forward_rows` and `max_step_s` bound what may be learned."""

    def __init__(self, *, max_forward_rows: int, max_step_s: float) -> None:
        self.max_forward_rows = max_forward_rows
        self.max_step_s = max_step_s
        self._measured: dict[BatchKey, _Measured] = {}

    def observe(self, key: BatchKey, forward_rows: int, seconds: float) -> None:
        known = self._measured.setdefault(key, _Measured()).seconds
        before = known.get(forward_rows)
        known[forward_rows] = seconds if before is None else before + NEW_SHARE * (seconds - before)

    def out_of_memory(self, key: BatchKey, forward_rows: int) -> None:
        """A pass of `forward_rows` did not fit: from now on at most half of it."""
        self._measured.setdefault(key, _Measured()).memory_limit = max(1, forward_rows // 2)

    def predict(self, key: BatchKey, forward_rows: int) -> float:
        """Seconds of one pass: measured, or between its measured neighbours, or in proportion to the nearest one."""
        measured = self._measured.get(key)
        if measured is None or not measured.seconds:
            return self._guess(key, forward_rows)
        known = measured.seconds
        if forward_rows in known:
            return known[forward_rows]
        below = max((size for size in known if size < forward_rows), default=None)
        above = min((size for size in known if size > forward_rows), default=None)
        if below is None or above is None:
            nearest = below or above or forward_rows
            return known[nearest] * forward_rows / nearest
        part = (forward_rows - below) / (above - below)
        return known[below] + part * (known[above] - known[below])

    def batch_rows(self, key: BatchKey) -> int:
        """The smallest size whose throughput is as good as the best known, or one size up where more is not yet known.

        Not below 2, a row with guidance, unless memory holds no more than one.
        """
        measured = self._measured.get(key)
        limit = self.max_forward_rows
        if measured is not None and measured.memory_limit is not None:
            limit = min(limit, measured.memory_limit)
        least = min(2, limit)
        if measured is None or not measured.seconds:
            return min(limit, 4)
        sizes = [n for n in ladder(limit) if n in measured.seconds and measured.seconds[n] <= self.max_step_s]
        if not sizes:
            return least
        rates = {n: n / measured.seconds[n] for n in sizes}
        best = max(rates, key=lambda n: rates[n])
        largest_known = max(measured.seconds)
        if best >= largest_known and best < limit and self.predict(key, best * 2) <= self.max_step_s:
            return max(least, min(limit, best * 2))
        return max(least, min(n for n in sizes if rates[n] >= NEAR_BEST * rates[best]))

    def rows_per_s(self, key: BatchKey) -> float:
        rows = self.batch_rows(key)
        return rows / self.predict(key, rows)

    def _guess(self, key: BatchKey, forward_rows: int) -> float:
        """From another latent shape of the same model, in proportion to its area; else a constant."""
        for other, measured in self._measured.items():
            if other.model == key.model and measured.seconds:
                return self.predict(other, forward_rows) * latent_area(key) / latent_area(other)
        return UNKNOWN_ROW_S * forward_rows


def latent_area(key: BatchKey) -> int:
    """Cells of one latent: what the cost of a forward row is proportional to."""
    return key.latent_shape[-1] * key.latent_shape[-2]
