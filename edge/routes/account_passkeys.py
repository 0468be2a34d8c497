"""`/v1/account/passkeys`, `/v1/account/recovery-codes`: the ways into an account, for a browser that is signed in."""

from functools import partial
from typing import Annotated, Literal

from litestar import Response, Router, delete, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Struct
from sqlalchemy.orm import Session

from edge.domain.owner import Owner
from edge.domain.passkeys import MOST_PASSKEYS as MOST
from edge.domain.passkeys import KnownPasskey, LastWayIn, TooManyPasskeys, add_passkey, remove_passkey
from edge.domain.recovery import replace_codes
from edge.domain.sign_ins import end_other_sign_ins
from edge.errors import BadInput, NotFound
from edge.guards.auth import ApiRequest, find_sign_in
from edge.guards.scopes import needs
from edge.routes.account import Label, MadeCredential, Passkey, account_of, made_passkey, not_genuine, passkey_state
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody

PasskeyIdPath = Annotated[str, PathParameter(description="A passkey's id.", max_length=64)]


class PasskeyWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """`label`: what its owner calls it."""

    credential: MadeCredential
    label: Label = "passkey"


class CodesWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


class PasskeyRemoved(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["passkey"] = "passkey"
    removed: Literal[True] = True


class RecoveryCodes(Struct, frozen=True, kw_only=True):
    """`codes` are told this once; the ones from before do not work any more."""

    object: Literal["recovery_codes"] = "recovery_codes"
    codes: list[str]

    def __repr__(self) -> str:
        return "<recovery codes>"


@post(
    "/passkeys",
    dto=StrictBody[PasskeyWanted],
    return_dto=None,
    responses={201: ResponseSpec(Passkey, generate_examples=False), **api_errors(404, 413, 415)},
)
async def add(data: JSONBody[PasskeyWanted], caller: GivenCaller, services: GivenServices) -> Response[Passkey]:
    account = account_of(caller)
    new, _ = await made_passkey(data.credential, "add_passkey", caller, services)
    make = partial(add_passkey, account=account, new=new, label=data.label, now=services.clock())
    try:
        return Response(passkey_state(await services.database.write(make)))
    except TooManyPasskeys:
        raise BadInput(f"an account has at most {MOST} passkeys: remove one first") from None
    except KnownPasskey:
        raise not_genuine() from None


@delete("/passkeys/{passkey_id:str}", status_code=200, responses=api_errors(404))
async def remove(
    passkey_id: PasskeyIdPath, request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> PasskeyRemoved:
    """It signs nobody in from here on, and every other browser is signed out: one of them may have come by it.

    The last one stays: without it there would be no way in.
    """
    account = account_of(caller)
    current = await find_sign_in(request, services)
    take_away = partial(_remove, account=account, passkey_id=passkey_id, kept_id=current.id if current else None)
    try:
        was_there = await services.database.write(take_away)
    except LastWayIn:
        raise BadInput("this is the only passkey: add another one first, or delete the account", param="id") from None
    if not was_there:
        raise NotFound("there is no such passkey")
    services.known_sign_ins.forget_all_of(account)
    return PasskeyRemoved(id=passkey_id)


@post(
    "/recovery-codes",
    dto=StrictBody[CodesWanted],
    return_dto=None,
    responses={201: ResponseSpec(RecoveryCodes, generate_examples=False), **api_errors(404, 413, 415)},
)
async def renew_codes(
    data: JSONBody[CodesWanted], caller: GivenCaller, services: GivenServices
) -> Response[RecoveryCodes]:
    """All ten anew."""
    account = account_of(caller)
    renew = partial(replace_codes, account=account, keyring=services.keyring, now=services.clock())
    return Response(RecoveryCodes(codes=await services.database.write(renew)))


def _remove(db: Session, account: Owner, passkey_id: str, kept_id: str | None) -> bool:
    """Raises LastWayIn."""
    was_there = remove_passkey(db, account, passkey_id)
    if was_there:
        end_other_sign_ins(db, account, kept_id)
    return was_there


passkey_routes = Router(
    "/v1/account", route_handlers=[add, remove, renew_codes], tags=["account"], opt=needs("account")
)
