"""The page for people. Pages alone set the session cookie, and each visit prolongs it."""

from contextlib import suppress
from functools import partial
from importlib.metadata import version

import msgspec
from litestar import get
from litestar.datastructures import Cookie
from litestar.response import Template

from edge.domain.sessions import Session, new_session, prolonged, session_token
from edge.domain.training import Answer, Asked, choice_of, decide
from edge.errors import DatabaseUnavailable
from edge.guards.auth import ApiRequest, cookie_name, cookie_session, says_gpc
from edge.routes.given import GivenServices
from edge.routes.models import cards_of
from edge.routes.privacy import policy_in_words
from edge.services import Services


@get("/", include_in_schema=False)
async def front_page(request: ApiRequest, services: GivenServices) -> Template:
    plan = services.anonymous_plan
    return Template(
        "index.html",
        context={
            "models": msgspec.to_builtins(cards_of(plan, services.policies)),
            "retention": msgspec.to_builtins(plan.retention),
            "max_images": plan.max_images,
            "version": version("sfumato"),
            "training": await _usual_training(request, services),
            **policy_in_words(services),
        },
        cookies=[session_cookie(visiting_session(request, services), services)],
    )


async def _usual_training(request: ApiRequest, services: Services) -> Answer:
    """What holds for a picture of this visitor when the form says nothing else."""
    session, choice = cookie_session(request, services), None
    if session is not None:
        with suppress(DatabaseUnavailable):  # the page comes all the same; what was chosen holds whatever it shows
            choice = await services.database.read(partial(choice_of, owner=session.owner))
    return decide(Asked(owner_kind="session", gpc=says_gpc(request), choice=choice), services.training)


def visiting_session(request: ApiRequest, services: Services) -> Session:
    """The visitor's own, prolonged, or a new one."""
    now, idle_s = services.clock(), services.session_idle_s
    session = cookie_session(request, services)
    return prolonged(session, now, idle_s) if session else new_session(now, idle_s)


def session_cookie(session: Session, services: Services) -> Cookie:
    return Cookie(
        key=cookie_name(services.settings),
        value=session_token(session, services.keyring),
        max_age=int(services.session_idle_s),
        path="/",
        secure=services.settings.is_https,
        httponly=True,
        samesite="lax",
    )
