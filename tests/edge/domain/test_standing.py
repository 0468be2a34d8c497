"""When `/privacy/status` may say yes."""

import pytest
from msgspec.structs import replace

from edge.domain.reports import HourlyReport, RulesReport, SweepReport
from edge.domain.standing import Standing

NOW = 1_800_000_000
HOUR_S, DAY_S = 3600, 86_400


def good() -> Standing:
    return Standing(
        now=NOW,
        sweep=SweepReport(at=NOW - 60, removed={}),
        hourly=HourlyReport(at=NOW - HOUR_S),
        rules=RulesReport(at=NOW - HOUR_S, state="agree"),
        canaries=[],
    )


def test_what_was_reported_in_time_and_finished_is_no_alarm() -> None:
    assert good().alarms == []


@pytest.mark.parametrize("state", ["agree", "none"])
def test_rules_that_nobody_looked_at_for_days_are_an_alarm(state: str) -> None:
    rules = RulesReport(at=NOW - 40 * DAY_S, state="none" if state == "none" else "agree")
    [alarm] = replace(good(), rules=rules).alarms
    assert alarm == "The store's rules were last looked at 2026-12-06 08:00 UTC, and not since."


def test_rules_that_nobody_ever_looked_at_are_an_alarm() -> None:
    assert replace(good(), rules=None).alarms == ["Nobody has looked at the store's rules yet."]


def test_a_report_from_the_future_says_nothing_about_now() -> None:
    ahead = SweepReport(at=NOW + HOUR_S, removed={})
    [alarm] = replace(good(), sweep=ahead).alarms
    assert alarm == "The deleter has reported from 60 minutes in the future: a clock is wrong."
    assert replace(good(), sweep=replace(ahead, at=NOW + 30)).alarms == []


@pytest.mark.parametrize(
    ("hourly", "alarm"),
    [
        (None, "The checks of every hour have not reported yet."),
        (HourlyReport(at=NOW - 3 * HOUR_S), "The checks of every hour have not reported for 3 hours."),
        (
            HourlyReport(at=NOW, left=["orphans", "rules"]),
            "The last checks of the hour could not finish: orphans, rules.",
        ),
    ],
)
def test_the_checks_of_every_hour_must_have_run_and_finished(hourly: HourlyReport | None, alarm: str) -> None:
    assert replace(good(), hourly=hourly).alarms == [alarm]


@pytest.mark.parametrize(
    ("ago_s", "said"),
    [
        (-5, "0 seconds"),
        (1, "1 second"),
        (3960, "66 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (2e5, "2 days"),
    ],
)
def test_how_long_ago_is_said_in_one_unit(ago_s: float, said: str) -> None:
    assert good().since(int(NOW - ago_s)) == said
