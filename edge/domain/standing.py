"""Whether the promise of deletion holds now, judged from what the deleter reported."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct
from sqlalchemy.orm import Session

from edge.domain.reports import CanaryReport, HourlyReport, RulesReport, SweepReport, read_canaries, read_report
from policies.publish import in_one_unit

SILENT_AFTER_S = 300
HOURLY_SILENT_AFTER_S = 2 * 3600 + SILENT_AFTER_S
AHEAD_S = 120  # a report from further in the future says that a clock is wrong, and nothing about now
LATE_AFTER_S = 120
UNWATCHED_AFTER_S = 2 * 86_400


class Cage(Struct, frozen=True):
    """The canaries of one class, oldest first, and how many are in which state."""

    prefix: str
    class_days: int
    canaries: list[CanaryReport]
    gone: int
    waiting: int
    early: int
    overdue: int


class Standing(Struct, frozen=True, kw_only=True):
    """`now` in Unix seconds; a report is None where there was none yet. `watched`: where canaries are to be planted."""

    now: float
    sweep: SweepReport | None
    hourly: HourlyReport | None
    rules: RulesReport | None
    canaries: list[CanaryReport]
    watched: list[str] = []

    @property
    def alarms(self) -> list[str]:
        """What is not as promised, in plain words."""
        return [*self._of_deleter(), *self._of_hourly(), *self._of_rules(), *self._of_canaries()]

    @property
    def cages(self) -> list[Cage]:
        places = {(canary.prefix, canary.class_days) for canary in self.canaries}
        return [self._cage(prefix, class_days) for prefix, class_days in sorted(places)]

    @property
    def unwatched(self) -> list[str]:
        """Where one should have been planted since, and was not."""
        recent = {canary.prefix for canary in self.canaries if self.now - canary.planted_at <= UNWATCHED_AFTER_S}
        return [prefix for prefix in self.watched if prefix not in recent]

    def since(self, at: int) -> str:
        """`12 seconds`, `66 minutes`: how long ago, to one unit."""
        return in_one_unit(self.now - at)

    def _cage(self, prefix: str, class_days: int) -> Cage:
        inside = [
            canary for canary in self.canaries[::-1] if (canary.prefix, canary.class_days) == (prefix, class_days)
        ]
        count = Counter(canary.state(self.now) for canary in inside)
        return Cage(prefix, class_days, inside, count["gone"], count["waiting"], count["early"], count["overdue"])

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
        if early := sum(cage.early for cage in self.cages):
            yield f"Canaries that went too early for the store's rule to have done it: {early} of {len(self.canaries)}."
        for prefix in self.unwatched:
            yield f"No canary has been planted under {prefix} for {in_one_unit(UNWATCHED_AFTER_S)}."


def read_standing(db: Session, now: float, watched: list[str]) -> Standing:
    return Standing(
        now=now,
        sweep=read_report(db, SweepReport),
        hourly=read_report(db, HourlyReport),
        rules=read_report(db, RulesReport),
        canaries=read_canaries(db),
        watched=watched,
    )


def utc_minute(at: int) -> str:
    """`2026-11-24 08:35`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
