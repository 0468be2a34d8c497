"""How long a pass takes, learned from the passes themselves, and the batch size that follows from it.

What is known of a size fades: where it was not seen for a while it is tried again, so that neither a busy moment nor
the first pass of a size, which may compile, decides for good. Pure arithmetic on observations. Sizes are forward rows:
a row with guidance counts as two.
"""

from dataclasses import dataclass, field

from serve_app.pipelines.pipeline import BatchKey

UNKNOWN_ROW_S = 0.05  # a guess for the very first pass of a process, replaced by its measurement
NEW_SHARE = 0.2  # weight of the newest observation in the running mean
NEAR_BEST = 0.97  # a smaller batch within 3 % of the best throughput is better: its rows finish sooner
FADES_AFTER = 200  # passes of a batch key: at most one in so many tries a size that was slow


def ladder(limit: int) -> list[int]:
    """Sizes worth telling apart, a third or a half apart, up to and including `limit`: 1 2 3 4 6 8 12 16 …"""
    sizes = {limit}
    power = 1
    while power <= limit:
        sizes |= {power, power * 3 // 2}
        power *= 2
    return sorted(size for size in sizes if size <= limit)


@dataclass(slots=True)
class _Size:
    """The running mean of one size, and the pass that saw it last. The first observation is replaced by the second."""

    seconds: float
    seen_at: int
    is_first: bool = True


@dataclass(slots=True)
class _Measured:
    """What is known of one batch key: its sizes, and the limit that running out of memory has taught."""

    sizes: dict[int, _Size] = field(default_factory=dict[int, _Size])
    passes: int = 0
    memory_limit: int | None = None

    def observe(self, rows: int, seconds: float) -> None:
        self.passes += 1
        size = self.sizes.get(rows)
        if size is None:
            self.sizes[rows] = _Size(seconds, self.passes)
            return
        size.seconds += (NEW_SHARE if self.knows(rows) else 1.0) * (seconds - size.seconds)
        size.seen_at, size.is_first = self.passes, False

    def knows(self, rows: int) -> bool:
        """Whether this size was measured, not for the first time, and lately."""
        size = self.sizes.get(rows)
        return size is not None and not size.is_first and self.passes - size.seen_at <= FADES_AFTER


class StepTimes:
    """Step time by batch key and size. `max_forward_rows` and `max_step_s` bound what may be learned."""

    def __init__(self, *, max_forward_rows: int, max_step_s: float) -> None:
        self.max_forward_rows = max_forward_rows
        self.max_step_s = max_step_s
        self._measured: dict[BatchKey, _Measured] = {}
        self.start_s = 0.0  # of one new row: its prompt is encoded before the first step

    def observe_start(self, rows: int, seconds: float) -> None:
        """Neither the first of a process, which is slow, nor a busy moment says for long what to expect."""
        row_s = seconds / rows
        if not self.start_s or row_s < self.start_s / 3:
            self.start_s = row_s
        else:
            self.start_s += NEW_SHARE * (min(row_s, 2 * self.start_s) - self.start_s)

    def observe(self, key: BatchKey, forward_rows: int, seconds: float) -> None:
        self._measured.setdefault(key, _Measured()).observe(forward_rows, seconds)

    def out_of_memory(self, key: BatchKey, forward_rows: int) -> None:
        """A pass of `forward_rows` did not fit: from now on at most half of it."""
        self._measured.setdefault(key, _Measured()).memory_limit = max(1, forward_rows // 2)

    def predict(self, key: BatchKey, forward_rows: int) -> float:
        """Seconds of one pass: measured, or between its measured neighbours, or in proportion to the nearest one."""
        measured = self._measured.get(key)
        if measured is None or not measured.sizes:
            return self._guess(key, forward_rows)
        known = measured.sizes
        if forward_rows in known:
            return known[forward_rows].seconds
        below = max((size for size in known if size < forward_rows), default=None)
        above = min((size for size in known if size > forward_rows), default=None)
        if below is None or above is None:
            nearest = below or above or forward_rows
            return known[nearest].seconds * forward_rows / nearest
        part = (forward_rows - below) / (above - below)
        return known[below].seconds + part * (known[above].seconds - known[below].seconds)

    def batch_rows(self, key: BatchKey) -> int:
        """The smallest size whose throughput is as good as the best known, or one size up where that is not known.

        Not below 2, a row with guidance, unless memory holds no more than one.
        """
        measured = self._measured.get(key, _Measured())
        limit = min(self.max_forward_rows, measured.memory_limit or self.max_forward_rows)
        if not measured.sizes:
            return min(limit, 4)
        rates = {
            rows: rows / size.seconds
            for rows, size in measured.sizes.items()
            if rows <= limit and size.seconds <= self.max_step_s
        }
        best = max(rates, key=lambda rows: rates[rows], default=0)
        good = min((rows for rows in rates if rates[rows] >= NEAR_BEST * rates[best]), default=0)
        return max(min(2, limit), self._worth_trying(measured, best, limit) or good)

    def _worth_trying(self, measured: _Measured, best: int, limit: int) -> int | None:
        """The next size above the best, where it is not known and would keep the bound if nothing were saved."""
        larger = next((rows for rows in ladder(limit) if rows > best + 1), None)
        if not best or larger is None or measured.sizes[best].seconds * larger / best > self.max_step_s:
            return None
        # rows with guidance may leave one place free
        return None if measured.knows(larger) or measured.knows(larger - 1) else larger

    def pass_s(self, key: BatchKey, forward_rows: int, new_rows: int) -> float:
        """Seconds until a pass is over for whoever waits: with the prompts of rows that have not begun."""
        return self.predict(key, forward_rows) + self.start_s * new_rows

    def rows_per_s(self, key: BatchKey) -> float:
        rows = self.batch_rows(key)
        return rows / self.predict(key, rows)

    def _guess(self, key: BatchKey, forward_rows: int) -> float:
        """From another latent shape of the same model, in proportion to its area; else a constant."""
        for other, measured in self._measured.items():
            if other.model == key.model and measured.sizes:
                return self.predict(other, forward_rows) * latent_area(key) / latent_area(other)
        return UNKNOWN_ROW_S * forward_rows


def latent_area(key: BatchKey) -> int:
    """Cells of one latent: what the cost of a forward row is proportional to."""
    return key.latent_shape[-1] * key.latent_shape[-2]
