"""`/v1/account/sign-in` and `/v1/account/recovery`: into an account by a passkey or by a code, and out again.

A passkey that nobody knows, one that was removed and one whose signature is wrong are refused after the same work; so
are codes. Of a passkey it is said whether it is unknown, since the page tells its device to forget such a one, and that
must be no good one: who asks has its random id, so nobody learns of an account.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from litestar import Response, Router, delete, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct, to_builtins
from sqlalchemy.orm import Session

from edge.db.rows import PasskeyRow
from edge.domain.accounts import hold_account
from edge.domain.lifting import StillDrawing, lift
from edge.domain.owner import Caller, Owner, OwnerId
from edge.domain.passkeys import NotGenuine, credential_id_in, find_passkey, note_signature
from edge.domain.recovery import count_codes, use_code
from edge.domain.sign_ins import SignIn, add_sign_in, end_sign_in
from edge.domain.training import WithdrawnCopy
from edge.errors import AccountGone, BadInput, NotFound
from edge.guards.auth import ApiRequest, find_sign_in, sign_in_cookie_name
from edge.guards.client_address import caller_networks
from edge.guards.scopes import needs
from edge.routes.account import Encoded, answered_challenge, not_genuine, still_drawing
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.privacy_me import without
from edge.routes.signed_in import sign_in_reply
from edge.routes.strict_body import StrictBody
from edge.services import Services

Admit = Callable[[Session], Owner | None]
"""Whose account it opens; None where it opens none. The account is held. Raises AccountGone."""

UNKNOWN_PASSKEY = (
    "this passkey opens no account here: it was removed, or its account was deleted; choose another one or use a "
    "recovery code, and delete this one where your device keeps its passkeys"
)
NO_SUCH_CODE = "this is no recovery code that still works"


class Assertion(
    Struct, frozen=True, rename={"client_data": "clientDataJSON", "authenticator_data": "authenticatorData"}
):
    client_data: Encoded
    authenticator_data: Encoded
    signature: Encoded


class SignedCredential(Struct, frozen=True, rename={"raw_id": "rawId"}):
    """As `PublicKeyCredential.toJSON()` writes it; what else is in it is not read."""

    id: Encoded
    raw_id: Encoded
    response: Assertion
    type: Literal["public-key"] = "public-key"


class SignInWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """`bring`: what this session made becomes the account's."""

    credential: SignedCredential
    bring: bool = False


class CodeGiven(Struct, frozen=True, forbid_unknown_fields=True):
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    bring: bool = False

    def __repr__(self) -> str:
        return "<recovery code>"


class SignedIn(Struct, frozen=True, kw_only=True):
    object: Literal["sign_in"] = "sign_in"
    account: str
    recovery_codes_left: int


class Entered(Struct, frozen=True):
    """`withdrawn`: copies for training that came along, where the account says no."""

    account: Owner
    token: str
    codes_left: int
    withdrawn: list[WithdrawnCopy]

    def __repr__(self) -> str:
        return "<entered>"


class SignedOut(Struct, frozen=True, kw_only=True):
    object: Literal["sign_in"] = "sign_in"
    ended: Literal[True] = True


@post(
    "/sign-in",
    dto=StrictBody[SignInWanted],
    return_dto=None,
    responses={201: ResponseSpec(SignedIn, generate_examples=False), **api_errors(413, 415)},
)
async def sign_in(
    data: JSONBody[SignInWanted], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[SignedIn]:
    async with services.failed_entries.counting_failure(caller_networks(request.scope, services.settings)):
        passkey, sign_count = await _signed(data.credential, caller, services)
        admit = partial(_owner_of, passkey=passkey, sign_count=sign_count, now=services.clock())
        return await _enter(admit, not_genuine(), data.bring, request, caller, services)


@post(
    "/recovery",
    dto=StrictBody[CodeGiven],
    return_dto=None,
    responses={201: ResponseSpec(SignedIn, generate_examples=False), **api_errors(413, 415)},
)
async def recover(
    data: JSONBody[CodeGiven], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[SignedIn]:
    """Signs in by a recovery code, which is used up. Make a passkey next."""
    refused = BadInput(NO_SUCH_CODE, param="code", code="sign_in_failed")
    use = partial(use_code, code=data.code, keyring=services.keyring)
    async with services.failed_entries.counting_failure(caller_networks(request.scope, services.settings)):
        return await _enter(use, refused, data.bring, request, caller, services)


@delete("/sign-in", status_code=200, responses=api_errors(404))
async def sign_out(request: ApiRequest, caller: GivenCaller, services: GivenServices) -> Response[SignedOut]:
    """Of this browser; the others stay signed in."""
    known = await find_sign_in(request, services)
    if known is None or known.owner != caller.owner:
        raise NotFound("this browser is not signed in")
    await services.database.write(partial(end_sign_in, sign_in_id=known.id))
    services.known_sign_ins.forget(known.id)
    settings = services.settings
    return Response(SignedOut(), cookies=[without(sign_in_cookie_name(settings), settings)])


async def _signed(given: SignedCredential, caller: Caller, services: Services) -> tuple[PasskeyRow, int]:
    """Raises BadInput."""
    credential: dict[str, Any] = to_builtins(given)
    answered = await answered_challenge(credential, "sign_in", caller, services)
    unknown = BadInput(UNKNOWN_PASSKEY, param="credential", code="unknown_passkey")
    passkey = None
    try:
        credential_id = credential_id_in(credential)
        passkey = await services.database.read(partial(find_passkey, credential_id=credential_id))
        sign_count = services.relying_party.signed(credential, answered.challenge, passkey)
    except NotGenuine:
        raise (unknown if passkey is None else not_genuine()) from None
    if passkey is None:
        raise unknown
    return passkey, sign_count


def _owner_of(db: Session, passkey: PasskeyRow, sign_count: int, now: float) -> Owner | None:
    """Raises AccountGone."""
    account = Owner("account", OwnerId(passkey.account_id))
    hold_account(db, account)
    return account if note_signature(db, passkey, sign_count, now) else None


async def _enter(
    admit: Admit, refused: BadInput, brings: bool, request: ApiRequest, caller: Caller, services: Services
) -> Response[SignedIn]:
    """What `admit` uses up, it uses up only where all goes well. Raises BadInput."""
    former = await find_sign_in(request, services)
    brought = caller if brings and caller.owner.kind == "session" else None
    enter = partial(_write, admit=admit, former=former, brought=brought, services=services)
    try:
        entered = await services.database.write(enter)
    except StillDrawing:
        raise still_drawing() from None
    except AccountGone:
        raise refused from None
    if entered is None:
        raise refused
    if former is not None:
        services.known_sign_ins.forget(former.id)
    body = SignedIn(account=entered.account.id, recovery_codes_left=entered.codes_left)
    return await sign_in_reply(
        body, entered.token, entered.account, services, brought=brought, withdrawn=entered.withdrawn
    )


def _write(
    db: Session, admit: Admit, former: SignIn | None, brought: Caller | None, services: Services
) -> Entered | None:
    """Raises StillDrawing, AccountGone."""
    account = admit(db)
    if account is None:
        return None
    keyring, now, terms = services.keyring, services.clock(), services.training
    withdrawn = lift(db, brought, account, keyring, now, terms.proofs_kept_for_s) if brought else []
    if former is not None:
        end_sign_in(db, former.id)
    token = add_sign_in(db, account, keyring, now)
    return Entered(account, token, count_codes(db, account), withdrawn)


sign_in_routes = Router(
    "/v1/account", route_handlers=[sign_in, recover, sign_out], tags=["account"], opt=needs("account")
)
