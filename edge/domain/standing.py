"""Whether the promise of deletion holds now, judged from what the deleter reported."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from edge.domain.reports import CanaryReport, HourlyReport, RulesReport, SweepReport
from policies.publish import in_one_unit

SILENT_AFTER_S = 300
HOURLY_SILENT_AFTER_S = 2 * 3600 + SILENT_AFTER_S
AHEAD_S = 120  # a report from further in the future says that a clock is wrong, and nothing about now
LATE_AFTER_S = 120


class Cage(Struct, frozen=True):
    """The canaries of one class, oldest first, and how many are in which state."""

    class_days: int
    canaries: list[CanaryReport]
    gone: int
    waiting: int
    overdue: int


class Standing(Struct, frozen=True, kw_only=True):
    """`now` in Unix seconds; a report is None where there was none yet."""

    now: float
    sweep: SweepReport | None
    hourly: HourlyReport | None
    rules: RulesReport | None
    canaries: list[CanaryReport]

    @property
    def alarms(self) -> list[str]:
        """What is not as promised, in plain words."""
        return [*self._of_deleter(), *self._of_hourly(), *self._of_rules(), *self._of_canaries()]

    @property
    def cages(self) -> list[Cage]:
        return [self._cage(days) for days in sorted({canary.class_days for canary in self.canaries})]

    def since(self, at: int) -> str:
        """`12 seconds`, `66 minutes`: how long ago, to one unit."""
        return in_one_unit(self.now - at)

    def _cage(self, class_days: int) -> Cage:
        inside = [canary for canary in self.canaries[::-1] if canary.class_days == class_days]
        count = Counter(canary.state(self.now) for canary in inside)
        return Cage(class_days, inside, count["gone"], count["waiting"], count["overdue"])

    def _of_deleter(self) -> Iterator[str]:
        yield from self._of_age("The deleter has", self.sweep, SILENT_AFTER_S)
        if self.sweep is None:
            return
        if self.sweep.left:
            yield f"Its last run could not finish: {', '.join(self.sweep.left)}."
        due_at = self.sweep.oldest_due_at
        if due_at is not None and self.now - due_at > LATE_AFTER_S:
            yield f"Something that should have gone {self.since(due_at)} ago is still there."

    def _of_hourly(self) -> Iterator[str]:
        if self.sweep is None:
            return  # one deleter, one sentence
        yield from self._of_age("The checks of every hour have", self.hourly, HOURLY_SILENT_AFTER_S)
        if self.hourly is not None and self.hourly.left:
            yield f"The last checks of the hour could not finish: {', '.join(self.hourly.left)}."

    def _of_age(self, who_has: str, report: SweepReport | HourlyReport | None, silent_after_s: float) -> Iterator[str]:
        if report is None:
            yield f"{who_has} not reported yet."
        elif report.at - self.now > AHEAD_S:
            yield f"{who_has} reported from {in_one_unit(report.at - self.now)} in the future: a clock is wrong."
        elif self.now - report.at > silent_after_s:
            yield f"{who_has} not reported for {self.since(report.at)}."

    def _of_rules(self) -> Iterator[str]:
        if self.rules is None:
            yield "Nobody has looked at the store's rules yet."
            return
        if abs(self.now - self.rules.at) > HOURLY_SILENT_AFTER_S:
            yield f"The store's rules were last looked at {utc_minute(self.rules.at)} UTC, and not since."
        if not self.rules.is_held:
            yield from self.rules.findings or ["The store's own rules are not those of the policy."]

    def _of_canaries(self) -> Iterator[str]:
        if overdue := sum(cage.overdue for cage in self.cages):
            yield f"Canaries that should have gone and are still there: {overdue} of {len(self.canaries)}."


def utc_minute(at: int) -> str:
    """`2026-11-24 08:35`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
