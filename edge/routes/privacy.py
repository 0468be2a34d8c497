"""The policy as others see it: a page, data, and what the deleter says of itself. Nobody has to be anyone here."""

from datetime import date, timedelta
from functools import partial
from math import log

import msgspec
from litestar import get
from litestar.response import Template
from msgspec import Struct

from edge.domain.canaries import watched_prefixes
from edge.domain.standing import read_standing, utc_minute
from edge.routes.documented import api_errors, problems
from edge.routes.given import GivenServices
from edge.routes.training import TRAINED
from edge.services import Services
from policies.publish import Published, in_words, iso, published, refused

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=730)  # the ends of the page's scale of times


class GlobalPrivacyControl(Struct, frozen=True, rename="camel"):
    """This site obeys `Sec-GPC`."""

    gpc: bool
    last_update: date


@get("/v1/privacy/retention", responses=api_errors(), tags=["privacy"])
async def retention_policy(services: GivenServices) -> Published:
    """All that is kept, for how long, why and for whom; the deleter and the store obey the same numbers."""
    return published(services.policies)


@get("/.well-known/gpc.json", media_type="application/json", responses=problems(), tags=["privacy"])
async def global_privacy_control(services: GivenServices) -> GlobalPrivacyControl:
    return GlobalPrivacyControl(gpc=True, last_update=published(services.policies).effective)


@get("/privacy", include_in_schema=False)
async def privacy_page(services: GivenServices) -> Template:
    context = {**policy_in_words(services), "share": share_of_scale, "refused": refused(services.policies)}
    return Template("privacy.html", context={**context, "moderation": services.policies.moderation})


@get("/privacy/status", include_in_schema=False)
async def status_page(services: GivenServices) -> Template:
    watched = watched_prefixes(services.policies, services.settings.store)
    standing = await services.database.read(partial(read_standing, now=services.clock(), watched=watched))
    context = {"standing": standing, "policy": published(services.policies), "utc": utc_minute}
    return Template("status.html", context=context)


def policy_in_words(services: Services) -> dict[str, object]:
    """What a page needs to say what is kept, from the one source.

    `copying`: what becomes of a visitor's picture here, which is never copied where no training key is set.
    `has_backstop`: the pictures lie in a store that has rules of its own. `overwrites`: the database does, at once.
    """
    policy, terms = published(services.policies), services.training
    return {
        "policy": policy,
        "kept": {kept.name: kept for kept in policy.classes},
        "plan": policy.plans["anonymous"],
        "copying": terms.mode if terms.order else "never",
        "has_backstop": services.settings.store.s3_url is not None,
        "overwrites": services.database.overwrites,
        "longest": iso(max(plan.retention.maximum for plan in services.policies.plans.plans.values())),
        "trained": TRAINED,
        "words": words_of,
    }


def words_of(duration: str) -> str:
    """Of an ISO 8601 duration."""
    return in_words(msgspec.convert(duration, timedelta))


def share_of_scale(duration: str) -> float:
    """How far along a logarithmic scale of times it reaches, in per cent."""
    reach = log(msgspec.convert(duration, timedelta) / SHORTEST) / log(LONGEST / SHORTEST)
    return round(100 * min(max(reach, 0.03), 1), 1)


privacy_routes = [retention_policy, global_privacy_control, privacy_page, status_page]
