"""What the object store does by itself: installed by `sfumato store init`, looked at again by the sweeper each hour."""

import logging
from collections.abc import Mapping
from time import time

from cluster.home import HomeError
from edge.domain.reports import RulesReport
from policies.publish import lifecycle_rules
from policies.schema import Policies
from serve_app.errors import StoreUnavailable
from serve_app.storage.rules import RulesFound, install_rules, verify_rules
from serve_app.storage.store import StoreSettings

log = logging.getLogger(__name__)

NO_RULES = "pictures lie in a directory: it has no rules of its own, the deleter is all there is, nothing to do"


async def init_store(settings: StoreSettings, policies: Policies, now: float) -> RulesReport:
    """Raises StoreUnavailable."""
    if settings.s3_url is None:
        return _without_rules(now)
    return _report(await install_rules(settings, lifecycle_rules(policies)), now)


async def check_store(settings: StoreSettings, policies: Policies, now: float) -> RulesReport:
    """Raises StoreUnavailable."""
    if settings.s3_url is None:
        return _without_rules(now)
    return _report(await verify_rules(settings, lifecycle_rules(policies)), now)


async def require_safe_store(settings: StoreSettings, policies: Policies) -> None:
    """At an edge's start: nothing may be stored where strangers read it or versions outlive it. Raises HomeError.

    One that is down, or that does not let this edge ask, is for `/readyz` and the sweeper.
    """
    try:
        report = await check_store(settings, policies, time())
    except StoreUnavailable as error:
        log.warning("whether the bucket is safe could not be asked: %s", error)
        return
    if report.state == "unsafe":
        raise HomeError(f"bucket {settings.bucket}: {'; '.join(report.findings)}")


async def look_at_store(env: Mapping[str, str], policies: Policies, *, install: bool) -> tuple[list[str], bool]:
    """For the operator's terminal: what was found, and whether the promise holds. Raises StoreUnavailable, ValueError
    for a setting that is wrong."""
    settings = StoreSettings.from_env(env)
    report = await (init_store if install else check_store)(settings, policies, time())
    return [*report.findings, *_verdict(report, settings, policies)], report.is_held


def _verdict(report: RulesReport, settings: StoreSettings, policies: Policies) -> list[str]:
    match report.state:
        case "none":
            return []
        case "agree":
            rules = ", ".join(f"{rule.prefix} after {rule.days} d" for rule in lifecycle_rules(policies))
            return [f"bucket {settings.bucket}: the store deletes {rules}, as the policy says"]
        case _:
            return [f"bucket {settings.bucket}: the backstop does not hold ({report.state})"]


def _without_rules(now: float) -> RulesReport:
    return RulesReport(at=int(now), state="none", findings=[NO_RULES])


def _report(found: RulesFound, now: float) -> RulesReport:
    return RulesReport(at=int(now), state=found.state, findings=found.findings)
