"""What a browser gets when it signs in: a cookie of its own kind; and the end of a session that it brought along."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from litestar import Response
from litestar.datastructures import Cookie

from edge.domain.owner import Caller, Owner
from edge.domain.sign_ins import LASTS_S
from edge.domain.training import WithdrawnCopy, finish_withdrawing
from edge.errors import DatabaseUnavailable
from edge.guards.auth import cookie_name, sign_in_cookie_name
from edge.routes.privacy_me import without
from edge.services import Services

BodyT = TypeVar("BodyT")


async def sign_in_reply(
    body: BodyT, token: str, account: Owner, services: Services, *, brought: Caller | None,
    withdrawn: Sequence[WithdrawnCopy],
) -> Response[BodyT]:  # fmt: skip
    """`withdrawn`: copies for training that came along to an account that says no. Nothing that fails now takes the
    reply away, for what it tells is told this once: the sweeper finishes.
    """
    cookies = [sign_in_cookie(token, services)]
    if brought is not None:
        services.runs.forget(brought.owner)
        cookies.append(without(cookie_name(services.settings), services.settings))
    with suppress(DatabaseUnavailable):
        await finish_withdrawing(withdrawn, store=services.store, database=services.database)
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
