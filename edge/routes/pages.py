"""The page for people. Pages alone set the session cookie, and a visit half-way through its time replaces it."""

from contextlib import suppress
from functools import partial
from importlib.metadata import version

import msgspec
from litestar import get
from litestar.datastructures import Cookie
from litestar.response import Template

from edge.domain.sessions import Session, new_session, session_token
from edge.domain.sign_ins import SignIn
from edge.domain.training import Answer, Asked, choice_of, decide
from edge.errors import DatabaseUnavailable
from edge.guards.auth import ApiRequest, cookie_name, find_sign_in, read_cookie, says_gpc
from edge.routes.given import GivenServices
from edge.routes.models import cards_of
from edge.routes.privacy import policy_in_words
from edge.services import Services
from policies.publish import published


@get("/", include_in_schema=False)
async def front_page(request: ApiRequest, services: GivenServices) -> Template:
    """For a browser that is signed in, with the plan of its account."""
    visitor = await _sign_in(request, services) or await _visitor(request, services)
    plan_name = visitor.plan if isinstance(visitor, SignIn) else "anonymous"
    plan = services.policies.plans.plans[plan_name]
    words = policy_in_words(services)
    words["plan"] = published(services.policies).plans[plan_name]
    return Template(
        "index.html",
        context={
            "models": msgspec.to_builtins(cards_of(plan, services.policies)),
            "retention": msgspec.to_builtins(plan.retention),
            "max_images": plan.max_images,
            "version": version("sfumato"),
            "training": await _usual_training(visitor, request, services),
            **words,
        },
        cookies=[session_cookie(visitor, services)] if isinstance(visitor, Session) else [],
    )


async def _sign_in(request: ApiRequest, services: Services) -> SignIn | None:
    """None also for an account whose plan is not on offer any more: its calls say so."""
    with suppress(DatabaseUnavailable):
        sign_in = await find_sign_in(request, services)
        if sign_in and sign_in.plan in services.policies.plans.plans:
            return sign_in
    return None


async def _visitor(request: ApiRequest, services: Services) -> Session:
    """Without the database the page comes all the same, with the cookie as it is."""
    try:
        return await visiting_session(request, services)
    except DatabaseUnavailable:
        return read_cookie(request, services) or new_session(services.clock(), services.session_idle_s)


async def _usual_training(visitor: SignIn | Session, request: ApiRequest, services: Services) -> Answer:
    """What holds for a picture of this visitor when the form says nothing else."""
    owner = visitor.owner
    choice = None
    if owner.kind == "account" or read_cookie(request, services):  # a newcomer has chosen nothing
        with suppress(DatabaseUnavailable):  # what was chosen holds whatever the page shows
            choice = await services.database.read(partial(choice_of, owner=owner))
    return decide(Asked(owner_kind=owner.kind, gpc=says_gpc(request), choice=choice), services.training)


async def visiting_session(request: ApiRequest, services: Services) -> Session:
    """The visitor's own, replaced when it is time, or a new one. Raises DatabaseUnavailable."""
    session = read_cookie(request, services)
    if session is None or not await services.rotation.allows(session, looks=True):
        return new_session(services.clock(), services.session_idle_s)
    return await services.rotation.successor(session) or session


def session_cookie(session: Session, services: Services) -> Cookie:
    return Cookie(
        key=cookie_name(services.settings),
        value=session_token(session, services.keyring),
        max_age=int(session.expires_at - services.clock()),
        path="/",
        secure=services.settings.is_https,
        httponly=True,
        samesite="lax",
    )
