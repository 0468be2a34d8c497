"""What operators watch: every metric in one table, filled from the deleter's reports when somebody asks.

Counts and times only; nothing is labelled with what belongs to anyone.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.domain.reports import HourlyReport, SweepReport
from edge.domain.standing import Standing

GAUGES = {
    "sfumato_sweep_timestamp_seconds": "When the newest sweep began, in Unix seconds; 0: never.",
    "sfumato_sweep_duration_seconds": "How long it took.",
    "sfumato_sweep_lag_seconds": "How late the latest of its deletions was; 0 where nothing was due.",
    "sfumato_sweep_left": "Kinds of things that it could not finish.",
    "sfumato_sweep_overdue_seconds": "For how long the oldest that should be gone has been overdue; 0: nothing is.",
    "sfumato_checks_timestamp_seconds": "When the newest checks of the hour began; 0: never.",
    "sfumato_checks_left": "How many of them could not finish.",
    "sfumato_rules_timestamp_seconds": "When the object store's own rules were last looked at; 0: never.",
    "sfumato_rules_held": "1 where they are those of the policy, or a directory has none; 0 where they are not.",
    "sfumato_canary_waiting": "Canaries that the store's rules have yet to remove.",
    "sfumato_canary_overdue": "Canaries that they should have removed, and have not.",
    "sfumato_canary_early": "Canaries that went before their class had passed, so that no rule removed them.",
    "sfumato_canary_unwatched": "Short classes of the store in which none was planted for two days.",
    "sfumato_report_waiting_seconds": "For how long the oldest report of pictures waits for a person; 0: none does.",
}
COUNTERS = {"sfumato_deleted_total": "What this process has deleted, by kind."}


class Seen(Struct, frozen=True, kw_only=True):
    """What there is to tell. `removed`: by kind, since this process started. `report_waits_s`: the oldest one."""

    removed: Mapping[str, int]
    standing: Standing
    report_waits_s: float = 0.0


def exposition(seen: Seen) -> bytes:
    """In Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(seen))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        waiting = {"sfumato_report_waiting_seconds": self._seen.report_waits_s}
        for name, value in {**_values(self._seen.standing), **waiting}.items():
            yield GaugeMetricFamily(name, GAUGES[name], value)
        [(name, meaning)] = COUNTERS.items()
        deleted = CounterMetricFamily(name, meaning, labels=["kind"])
        for kind, count in sorted(self._seen.removed.items()):
            deleted.add_metric([kind], count)
        yield deleted


def _values(seen: Standing) -> dict[str, float]:
    sweep = seen.sweep or SweepReport(at=0, removed={})
    hourly = seen.hourly or HourlyReport(at=0)
    states = [canary.state(seen.now) for canary in seen.canaries]
    return {
        "sfumato_sweep_timestamp_seconds": sweep.at,
        "sfumato_sweep_duration_seconds": sweep.took_s,
        "sfumato_sweep_lag_seconds": sweep.lag_s or 0,
        "sfumato_sweep_left": len(sweep.left),
        "sfumato_sweep_overdue_seconds": max(0, seen.now - sweep.oldest_due_at) if sweep.oldest_due_at else 0,
        "sfumato_checks_timestamp_seconds": hourly.at,
        "sfumato_checks_left": len(hourly.left),
        "sfumato_rules_timestamp_seconds": seen.rules.at if seen.rules else 0,
        "sfumato_rules_held": float(seen.rules is not None and seen.rules.is_held),
        "sfumato_canary_waiting": states.count("waiting"),
        "sfumato_canary_overdue": states.count("overdue"),
        "sfumato_canary_early": states.count("early"),
        "sfumato_canary_unwatched": len(seen.unwatched),
    }
