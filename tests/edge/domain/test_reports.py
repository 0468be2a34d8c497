from functools import partial

import pytest

from edge.db.database import Database
from edge.db.rows import CanaryRow, ReportRow
from edge.domain.reports import CanaryReport, RulesReport, SweepReport, put_report, read_canaries, read_report


async def test_the_newest_report_of_a_kind_replaces_the_one_before(database: Database):
    assert await database.read(lambda db: read_report(db, SweepReport)) is None
    for at in (10, 20):
        report = SweepReport(at=at, removed={"objects": at}, lag_s=1.5, left=["jobs"])
        await database.write(partial(put_report, report=report))
    await database.write(partial(put_report, report=RulesReport(at=5, state="differ", findings=["no rule for img/1d"])))
    assert await database.read(lambda db: read_report(db, SweepReport)) == report
    found = await database.read(lambda db: read_report(db, RulesReport))
    assert found is not None
    assert (found.findings, found.is_held) == (["no rule for img/1d"], False)


async def test_a_report_of_another_shape_counts_as_none(database: Database):
    await database.write(lambda db: db.add(ReportRow(name="sweep", body='{"of": "an older release"}', at=1)))
    assert await database.read(lambda db: read_report(db, SweepReport)) is None


async def test_canaries_are_read_newest_first(database: Database):
    for at in (1, 2):
        row = CanaryRow(id=f"{at:032}", class_days=1, key="k", planted_at=at, due_at=at + 9, forget_at=99)
        await database.write(lambda db, row=row: db.add(row))
    assert [canary.planted_at for canary in await database.read(read_canaries)] == [2, 1]


@pytest.mark.parametrize(
    ("gone_after_h", "now_h", "state"),
    [
        (None, 72, "waiting"),
        (None, 73, "overdue"),
        (24, 99, "gone"),
        (80, 99, "gone"),
        (23, 99, "gone"),  # clocks differ
        (22, 99, "early"),
        (0, 99, "early"),
    ],
)
def test_a_canary_goes_within_its_time_and_not_before_its_class_has_passed(
    gone_after_h: int | None, now_h: float, state: str
):
    planted_at = 1_800_000_000
    canary = CanaryReport(
        prefix="img/1d/",
        class_days=1,
        planted_at=planted_at,
        due_at=planted_at + 72 * 3_600,
        gone_at=None if gone_after_h is None else planted_at + gone_after_h * 3_600,
    )
    assert canary.state(planted_at + now_h * 3_600) == state
