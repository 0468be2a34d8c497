"""`/account` and `/account/keys`: what people see of an account. What they do there goes by the routes under `/v1`."""

from functools import partial

from litestar import Router, get
from litestar.response import Redirect, Template
from sqlalchemy import func, select
from sqlalchemy.orm import Session as DbSession

from edge.db.rows import ImageRow
from edge.domain.api_keys import MOST_KEYS
from edge.domain.jobs import visible
from edge.domain.owner import Owner, owned
from edge.domain.standing import utc_minute
from edge.errors import BadCredential
from edge.guards.auth import ApiRequest, bearer_of, find_sign_in
from edge.routes.account import PLAN, account_state
from edge.routes.given import GivenServices
from edge.routes.pages import session_cookie, visiting_session
from edge.routes.privacy import policy_in_words
from policies.publish import published


@get("/account")
async def account_page(request: ApiRequest, services: GivenServices) -> Template:
    """By the cookie alone, as a browser comes. Seeing it signs nobody in."""
    if bearer_of(request) is not None:
        raise BadCredential("this page goes by the cookie; with a key, ask /v1/privacy/me")
    words = {**policy_in_words(services), "utc": utc_minute}
    plans = published(services.policies).plans
    if sign_in := await find_sign_in(request, services):
        account = await services.database.read(partial(account_state, account=sign_in.owner))
        theirs = {"account": account, "plan": plans.get(account.plan), "signed_in_until": sign_in.ends_at}
        return Template("account.html", context={**words, **theirs})
    session = await visiting_session(request, services)
    count = partial(_count_pictures, owner=session.owner, now=services.clock())
    context = {**words, "account": None, "plan": plans[PLAN], "pictures": await services.database.read(count)}
    return Template("account.html", context=context, cookies=[session_cookie(session, services)])


@get("/account/keys")
async def keys_page(request: ApiRequest, services: GivenServices) -> Template | Redirect:
    if bearer_of(request) is not None:
        raise BadCredential("this page goes by the cookie; with a key, ask /v1/keys")
    if await find_sign_in(request, services) is None:
        return Redirect("/account")
    return Template("account-keys.html", context={**policy_in_words(services), "most_keys": MOST_KEYS})


def _count_pictures(db: DbSession, owner: Owner, now: float) -> int:
    seen = select(func.count()).select_from(ImageRow).where(owned(ImageRow, owner), *visible(now))
    return db.scalar(seen) or 0


account_pages = Router("/", route_handlers=[account_page, keys_page], include_in_schema=False)
