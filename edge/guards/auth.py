"""Who is asking: an API key, a browser that is signed in, a session by bearer or cookie, or nobody yet.

Pages alone set cookies; API calls get theirs in a header.
"""

import logging

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from edge.domain.api_keys import PREFIX as KEY_PREFIX
from edge.domain.api_keys import Credential
from edge.domain.owner import BROWSER_SCOPES, Caller
from edge.domain.sessions import Session, new_session, read_session, session_token
from edge.domain.sign_ins import SignIn
from edge.errors import BadCredential, Refusal
from edge.guards.scopes import require_scope
from edge.services import Services
from edge.settings import Settings
from policies.schema import Plan

log = logging.getLogger(__name__)

ApiRequest = Request[None, None, State]

ANONYMOUS = "anonymous"
FRESH_SESSION = "fresh_session"  # in the request's state; `envelope.py` sends it as X-Sfumato-Session


REFUSED = "this key or session is unknown, was ended, or has expired"  # the same for all: which of them, is not said


async def provide_caller(request: ApiRequest, services: NamedDependency[SkipValidation[Services]]) -> Caller:
    """Raises BadCredential for a bearer that is not ours, InsufficientScope, and DatabaseUnavailable: never open.

    A cookie that is not ours counts as none.
    """
    caller = await _caller(request, services)
    require_scope(caller, request.route_handler)
    return caller


def is_strange(request: ApiRequest, services: Services) -> bool:
    """Who this is only the database can say, for a key or a cookie that was not good here before. Raises
    BadCredential."""
    bearer = bearer_of(request)
    if bearer is not None:
        return services.known_keys.is_strange(bearer)
    token = request.cookies.get(sign_in_cookie_name(services.settings))
    return token is not None and services.known_sign_ins.is_strange(token)


async def _caller(request: ApiRequest, services: Services) -> Caller:
    bearer = bearer_of(request)
    if bearer is None:
        if sign_in := await find_sign_in(request, services):
            return signed_in_caller(sign_in, request, services)
        session = await cookie_session(request, services)
    elif bearer == ANONYMOUS:
        session = None
    elif bearer.startswith(KEY_PREFIX):
        return await _by_key(bearer, request, services)
    else:
        session = await _by_bearer(bearer, request, services)
    return caller_of(session, request, services, is_new=False) if session else _newcomer(request, services)


def says_gpc(request: ApiRequest) -> bool:
    """Global Privacy Control: the exact value 1 says no, anything else says nothing."""
    return request.headers.get("sec-gpc") == "1"


def cookie_name(settings: Settings) -> str:
    return "__Host-sid" if settings.is_https else "sid"


def sign_in_cookie_name(settings: Settings) -> str:
    return "__Host-acc" if settings.is_https else "acc"


async def find_sign_in(request: ApiRequest, services: Services) -> SignIn | None:
    """By the cookie of a browser that is signed in; one that is not ours counts as none. Raises DatabaseUnavailable."""
    token = request.cookies.get(sign_in_cookie_name(services.settings))
    return await services.known_sign_ins.find(token) if token else None


def signed_in_caller(sign_in: SignIn, request: ApiRequest, services: Services) -> Caller:
    return Caller(
        sign_in.owner,
        sign_in.viewing_secret,
        _plan_of(sign_in, services),
        gpc=says_gpc(request),
        scopes=BROWSER_SCOPES,
        other_secrets=sign_in.other_secrets,
    )


async def cookie_session(request: ApiRequest, services: Services) -> Session | None:
    """Raises DatabaseUnavailable."""
    session = read_cookie(request, services)
    return session if session and await services.rotation.allows(session) else None


def read_cookie(request: ApiRequest, services: Services) -> Session | None:
    """What the token says by itself; whether it was replaced is not looked at."""
    token = request.cookies.get(cookie_name(services.settings))
    return read_session(token, services.keyring, services.clock()) if token else None


def bearer_of(request: ApiRequest) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise BadCredential("authorization is by bearer token")
    return token.strip()


async def _by_key(text: str, request: ApiRequest, services: Services) -> Caller:
    credential = await services.known_keys.find(text)
    if credential is None:
        raise BadCredential(REFUSED)
    return _account_caller(credential, request, services)


def _account_caller(credential: Credential, request: ApiRequest, services: Services) -> Caller:
    return Caller(
        credential.owner,
        credential.viewing_secret,
        _plan_of(credential, services),
        gpc=says_gpc(request),
        scopes=credential.scopes,
        other_secrets=credential.other_secrets,
    )


def _plan_of(known: Credential | SignIn, services: Services) -> Plan:
    plan = services.policies.plans.plans.get(known.plan)
    if plan is None:
        log.error("account %s has a plan that plans.toml does not know", known.owner.id)
        raise Refusal("The plan of this account is not on offer any more; ask the operator.")
    return plan


async def _by_bearer(token: str, request: ApiRequest, services: Services) -> Session:
    """Who calls at least twice in a session's idle time never loses it: half-way, the next token comes along."""
    session = read_session(token, services.keyring, services.clock())
    if session is None or not await services.rotation.allows(session):
        raise BadCredential(REFUSED)
    if following := await services.rotation.successor(session):
        request.scope["state"][FRESH_SESSION] = session_token(following, services.keyring)
    return session


def _newcomer(request: ApiRequest, services: Services) -> Caller:
    session = new_session(services.clock(), services.session_idle_s)
    request.scope["state"][FRESH_SESSION] = session_token(session, services.keyring)
    return caller_of(session, request, services, is_new=True)


def caller_of(session: Session, request: ApiRequest, services: Services, *, is_new: bool) -> Caller:
    return Caller(session.owner, session.viewing_secret, services.anonymous_plan, is_new, says_gpc(request))
