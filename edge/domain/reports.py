"""What the deleter says of itself, for `/privacy/status`, `/readyz` and the operator's metrics.

Counts and times only. The newest report of each kind replaces the one before; canaries have a row each.
"""

from typing import Literal, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from edge.db.rows import CanaryRow, ReportRow
from edge.db.statements import upsert

ReportT = TypeVar("ReportT", "SweepReport", "HourlyReport", "RulesReport")
CanaryState = Literal["waiting", "gone", "early", "overdue"]

DAY_S = 86_400
CLOCKS_DIFFER_S = 3_600  # of a store and whoever looks, at most


class SweepReport(Struct, frozen=True, kw_only=True):
    """One sweep. `removed`: how many of each kind, by name (`objects`, `rows`, `jobs`, `sessions`, …).

    `lag_s`: how late the latest of its deletions was, None where nothing was due. `oldest_due_at`: the oldest that
    should have gone and is still there. `left`: the kinds that met an error, which the next sweep tries again.
    """

    at: int
    removed: dict[str, int]
    took_s: float = 0.0
    lag_s: float | None = None
    oldest_due_at: int | None = None
    left: list[str] = []

    @property
    def is_complete(self) -> bool:
        return not self.left


class HourlyReport(Struct, frozen=True, kw_only=True):
    """The checks of every hour: when they began, and which of them met an error."""

    at: int
    left: list[str] = []


class RulesReport(Struct, frozen=True, kw_only=True):
    """What the store does by itself.

    `agree`: every rule of the policy is installed; `differ`: one is missing or another than promised; `unsafe`: the
    bucket is public or versioned, where no rule holds; `unknown`: the store did not say; `none`: a directory, which
    has no rules. `findings` are plain sentences that name no object.
    """

    at: int
    state: Literal["agree", "differ", "unsafe", "unknown", "none"]
    findings: list[str] = []

    @property
    def is_held(self) -> bool:
        """The promise of a backstop holds, or none was made."""
        return self.state in ("agree", "none")


class CanaryReport(Struct, frozen=True, kw_only=True):
    """One canary, under the class `prefix`: the store's rule alone must have removed it by `due_at`. `gone_at`: when it
    was first missed, which is later than it went where nobody looked.

    Where it is missed before its class has passed, something else removed it: that proves no rule.
    """

    prefix: str
    class_days: int
    planted_at: int
    due_at: int
    gone_at: int | None

    def state(self, now: float) -> CanaryState:
        if self.gone_at is not None:
            soonest = self.planted_at + self.class_days * DAY_S - CLOCKS_DIFFER_S
            return "early" if self.gone_at < soonest else "gone"
        return "waiting" if now <= self.due_at else "overdue"


Report = SweepReport | HourlyReport | RulesReport
_NAMES: dict[type[Struct], str] = {SweepReport: "sweep", HourlyReport: "hour", RulesReport: "rules"}


def put_report(db: Session, report: Report) -> None:
    body = msgspec.json.encode(report).decode()
    upsert(db, ReportRow, key={"name": _NAMES[type(report)]}, values={"body": body, "at": report.at})


def read_report(db: Session, kind: type[ReportT]) -> ReportT | None:
    """The newest of its kind; None where there was none yet, or one that an older release wrote in another shape."""
    body = db.scalar(select(ReportRow.body).where(ReportRow.name == _NAMES[kind]))
    if body is None:
        return None
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        return None


def read_canaries(db: Session) -> list[CanaryReport]:
    """Newest first."""
    rows = db.scalars(select(CanaryRow).order_by(CanaryRow.planted_at.desc(), CanaryRow.class_days))
    return [
        CanaryReport(
            prefix=row.key.rpartition("canary/")[0],
            class_days=row.class_days,
            planted_at=row.planted_at,
            due_at=row.due_at,
            gone_at=row.gone_at,
        )
        for row in rows
    ]
