"""Who is asking: a bearer token, a cookie, or nobody yet. Pages alone set cookies; API calls get theirs in a header."""

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from edge.domain.owner import Caller
from edge.domain.sessions import Session, new_session, prolonged, read_session, session_token
from edge.errors import BadCredential
from edge.services import Services
from edge.settings import Settings

ApiRequest = Request[None, None, State]

ANONYMOUS = "anonymous"
FRESH_SESSION = "fresh_session"  # in the request's state; `envelope.py` sends it as X-Sfumato-Session


def provide_caller(request: ApiRequest, services: NamedDependency[SkipValidation[Services]]) -> Caller:
    """Raises BadCredential for a bearer that is not ours; a cookie that is not ours counts as none."""
    bearer = bearer_of(request)
    if bearer is None:
        session = cookie_session(request, services)
    elif bearer == ANONYMOUS:
        session = None
    else:
        session = read_session(bearer, services.keyring, services.clock())
        if session is None:
            raise BadCredential("this key or session is unknown or has expired")
        _prolong_in_time(session, request, services)
    return caller_of(session, request, services, is_new=False) if session else _newcomer(request, services)


def says_gpc(request: ApiRequest) -> bool:
    """Global Privacy Control: the exact value 1 says no, anything else says nothing."""
    return request.headers.get("sec-gpc") == "1"


def cookie_name(settings: Settings) -> str:
    return "__Host-sid" if settings.is_https else "sid"


def cookie_session(request: ApiRequest, services: Services) -> Session | None:
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


def _prolong_in_time(session: Session, request: ApiRequest, services: Services) -> None:
    """Who calls at least twice in a session's idle time never loses it: half-way, a newer token comes along."""
    now, idle_s = services.clock(), services.session_idle_s
    if session.expires_at - now < idle_s / 2:
        newer = prolonged(session, now, idle_s)
        request.scope["state"][FRESH_SESSION] = session_token(newer, services.keyring)


def _newcomer(request: ApiRequest, services: Services) -> Caller:
    session = new_session(services.clock(), services.session_idle_s)
    request.scope["state"][FRESH_SESSION] = session_token(session, services.keyring)
    return caller_of(session, request, services, is_new=True)


def caller_of(session: Session, request: ApiRequest, services: Services, *, is_new: bool) -> Caller:
    return Caller(session.owner, session.viewing_secret, services.anonymous_plan, is_new, says_gpc(request))
