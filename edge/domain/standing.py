"""Whether the promise of deletion holds now, judged from what the deleter reported."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from edge.domain.reports import CanaryReport, RulesReport, SweepReport
from policies.publish import in_words

SILENT_AFTER_S = 300
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
    rules: RulesReport | None
    canaries: list[CanaryReport]

    @property
    def alarms(self) -> list[str]:
        """What is not as promised, in plain words."""
        return [*self._of_deleter(), *self._of_rules(), *self._of_canaries()]

    @property
    def cages(self) -> list[Cage]:
        return [self._cage(days) for days in sorted({canary.class_days for canary in self.canaries})]

    def since(self, at: int) -> str:
        """`12 seconds`, `3 minutes`: how long ago, to one unit."""
        seconds = max(0, int(self.now - at))
        for unit_s in (86_400, 3_600, 60):
            if seconds >= 2 * unit_s:
                return in_words(timedelta(seconds=seconds // unit_s * unit_s))
        return f"{seconds} second{'' if seconds == 1 else 's'}"

    def _cage(self, class_days: int) -> Cage:
        inside = [canary for canary in self.canaries[::-1] if canary.class_days == class_days]
        count = Counter(canary.state(self.now) for canary in inside)
        return Cage(class_days, inside, count["gone"], count["waiting"], count["overdue"])

    def _of_deleter(self) -> list[str]:
        if self.sweep is None:
            return ["The deleter has not reported yet."]
        found: list[str] = []
        if self.now - self.sweep.at > SILENT_AFTER_S:
            found.append(f"The deleter has not reported for {self.since(self.sweep.at)}.")
        if self.sweep.left:
            found.append(f"Its last run could not finish: {', '.join(self.sweep.left)}.")
        due_at = self.sweep.oldest_due_at
        if due_at is not None and self.now - due_at > LATE_AFTER_S:
            found.append(f"Something that should have gone {self.since(due_at)} ago is still there.")
        return found

    def _of_rules(self) -> list[str]:
        if self.rules is None or self.rules.is_held:
            return []
        return self.rules.findings or ["The store's own rules are not those of the policy."]

    def _of_canaries(self) -> list[str]:
        overdue = sum(cage.overdue for cage in self.cages)
        return (
            [f"Canaries that should have gone and are still there: {overdue} of {len(self.canaries)}."]
            if overdue
            else []
        )


def utc_minute(at: int) -> str:
    """`2026-11-24 08:35`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
