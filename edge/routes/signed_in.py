"""What a browser gets when it signs in: a cookie of its own kind; and the end of a session that it brought along."""

from typing import TypeVar

from litestar import Response
from litestar.datastructures import Cookie

from edge.domain.owner import Caller, Owner
from edge.domain.sign_ins import LASTS_S
from edge.guards.auth import cookie_name, sign_in_cookie_name
from edge.routes.privacy_me import without
from edge.services import Services

BodyT = TypeVar("BodyT")


async def sign_in_reply(
    body: BodyT, token: str, account: Owner, services: Services, *, brought: Caller | None, takes_back: bool
) -> Response[BodyT]:
    """`takes_back`: copies for training came along, and the account had said no."""
    cookies = [sign_in_cookie(token, services)]
    if brought is not None:
        services.runs.forget(brought.owner)
        cookies.append(without(cookie_name(services.settings), services.settings))
    if takes_back:
        await services.deletions.refuse_training(account)
    services.known_sign_ins.forget_all_of(account)  # it may have one more viewing secret
    services.known_keys.forget_all_of(account)
    return Response(body, cookies=cookies)


def sign_in_cookie(token: str, services: Services) -> Cookie:
    return Cookie(
        key=sign_in_cookie_name(services.settings),
        value=token,
        max_age=LASTS_S,
        path="/",
        secure=services.settings.is_https,
        httponly=True,
        samesite="lax",
    )
