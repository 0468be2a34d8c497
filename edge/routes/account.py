"""`/v1/account`: an account by passkey, made, shown and deleted by a browser. No name, no address, no password.

Each ceremony begins with a challenge, which the browser's own device answers once. What a session made before comes
along only where its person says so.
"""

import secrets
from functools import partial
from typing import Annotated, Any, Literal

from litestar import Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta, Struct, to_builtins
from sqlalchemy.orm import Session

from edge.db.rows import AccountRow, PasskeyRow
from edge.domain.accounts import add_account
from edge.domain.challenges import Answered, Purpose
from edge.domain.lifting import StillDrawing, lift
from edge.domain.owner import Caller, Owner
from edge.domain.passkeys import (
    KnownPasskey,
    NewPasskey,
    NotGenuine,
    add_passkey,
    challenge_in,
    passkeys_of,
)
from edge.domain.recovery import count_codes, new_codes
from edge.domain.sign_ins import add_sign_in
from edge.domain.training import WithdrawnCopy
from edge.errors import BadInput, NotFound
from edge.guards.auth import ApiRequest
from edge.guards.client_address import caller_networks
from edge.guards.scopes import needs
from edge.routes.deletion import Deleted
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.privacy_me import Confirmation, erase_confirmed
from edge.routes.signed_in import sign_in_reply
from edge.routes.strict_body import StrictBody
from edge.services import Services

PLAN = "account"
NOT_GENUINE = "this answer of a passkey is not good here, or not any more: ask for a new challenge"

Encoded = Annotated[str, Meta(max_length=8_192)]
Label = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ChallengeWanted(Struct, frozen=True, forbid_unknown_fields=True):
    purpose: Purpose


class Challenge(Struct, frozen=True, kw_only=True):
    """`options` as `PublicKeyCredential.parseCreationOptionsFromJSON`, or `parseRequestOptionsFromJSON`, reads them."""

    object: Literal["passkey_challenge"] = "passkey_challenge"
    purpose: Purpose
    options: dict[str, Any]


class Attestation(Struct, frozen=True, rename={"client_data": "clientDataJSON", "attestation": "attestationObject"}):
    client_data: Encoded
    attestation: Encoded


class MadeCredential(Struct, frozen=True, rename={"raw_id": "rawId"}):
    """As `PublicKeyCredential.toJSON()` writes it; what else is in it is not read."""

    id: Encoded
    raw_id: Encoded
    response: Attestation
    type: Literal["public-key"] = "public-key"


class SignUp(Struct, frozen=True, forbid_unknown_fields=True):
    """`label`: what its owner calls the passkey. `bring`: what this session made becomes the account's."""

    credential: MadeCredential
    label: Label = "passkey"
    bring: bool = False


class Passkey(Struct, frozen=True, kw_only=True):
    """Days are UTC."""

    id: str
    object: Literal["passkey"] = "passkey"
    label: str
    created_on: str
    last_used_on: str | None


class Account(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["account"] = "account"
    plan: str
    created_on: str
    passkeys: list[Passkey]
    recovery_codes_left: int


class NewAccount(Struct, frozen=True, kw_only=True):
    """`recovery_codes` are told this once: each signs in one time where every passkey is lost."""

    id: str
    object: Literal["account"] = "account"
    plan: str
    recovery_codes: list[str]

    def __repr__(self) -> str:
        return f"<new account: {self.id}>"


@post(
    "/challenges",
    dto=StrictBody[ChallengeWanted],
    return_dto=None,
    responses={201: ResponseSpec(Challenge, generate_examples=False), **api_errors(404, 413, 415)},
)
async def ask_challenge(
    data: JSONBody[ChallengeWanted], caller: GivenCaller, services: GivenServices
) -> Response[Challenge]:
    """For five minutes, this browser, this purpose, and one answer."""
    party, account_id = services.relying_party, secrets.token_hex(16)
    known: list[bytes] = []
    if data.purpose == "add_passkey":
        account_id = account_of(caller).id
        rows = await services.database.read(partial(passkeys_of, account=caller.owner))
        known = [row.credential_id for row in rows]
    challenge = services.challenges.issue(data.purpose, caller.owner, account_id)
    is_sign_in = data.purpose == "sign_in"
    options = party.asked_to_sign(challenge) if is_sign_in else party.asked_to_make(challenge, account_id, known)
    return Response(Challenge(purpose=data.purpose, options=options))


@post(
    "/",
    dto=StrictBody[SignUp],
    return_dto=None,
    responses={201: ResponseSpec(NewAccount, generate_examples=False), **api_errors(404, 413, 415)},
)
async def sign_up(
    data: JSONBody[SignUp], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[NewAccount]:
    """Makes an account with its first passkey, and signs this browser in by a cookie; one network makes a few a day."""
    if caller.owner.kind == "account":
        raise BadInput("this browser is signed in already: sign out first")
    networks = caller_networks(request.scope, services.settings)
    async with services.failed_entries.counting_failure(networks):
        new, answered = await made_passkey(data.credential, "sign_up", caller, services)
        make = partial(_make, new=new, account_id=answered.account_id, asked=data, caller=caller, services=services)
        try:
            async with services.made_accounts.counting_success(networks):
                account, codes, token, withdrawn = await services.database.write(make)
        except KnownPasskey:
            raise not_genuine() from None
        except StillDrawing:
            raise still_drawing() from None
    made = NewAccount(id=account.id, plan=PLAN, recovery_codes=codes)
    brought = caller if data.bring else None
    return await sign_in_reply(made, token, account, services, brought=brought, withdrawn=withdrawn)


@get("/", responses=api_errors(404))
async def show_account(caller: GivenCaller, services: GivenServices) -> Account:
    account = account_of(caller)
    return await services.database.read(partial(account_state, account=account))


@delete(
    "/",
    status_code=200,
    responses={200: ResponseSpec(Deleted, generate_examples=False), **api_errors(404)},
    opt=needs("privacy"),
)
async def delete_account(
    request: ApiRequest, caller: GivenCaller, services: GivenServices, sfumato_confirm: Confirmation = ""
) -> Response[Deleted]:
    """With all that is the account's: pictures, keys, passkeys, codes, and every browser that is signed in."""
    account_of(caller)
    return await erase_confirmed(request, caller, services, sfumato_confirm)


def account_of(caller: Caller) -> Owner:
    """Raises NotFound for who has none."""
    if caller.owner.kind != "account":
        raise NotFound("there is no account here: this browser is not signed in")
    return caller.owner


async def made_passkey(
    given: MadeCredential, purpose: Purpose, caller: Caller, services: Services
) -> tuple[NewPasskey, Answered]:
    """Raises BadInput."""
    credential: dict[str, Any] = to_builtins(given)
    answered = await answered_challenge(credential, purpose, caller, services)
    try:
        return services.relying_party.made(credential, answered.challenge), answered
    except NotGenuine:
        raise not_genuine() from None


async def answered_challenge(
    credential: dict[str, Any], purpose: Purpose, caller: Caller, services: Services
) -> Answered:
    """It is used up. Raises BadInput."""
    try:
        answered = await services.challenges.spend(challenge_in(credential), purpose, caller.owner)
    except NotGenuine:
        raise not_genuine() from None
    if answered is None:
        raise not_genuine()
    return answered


def not_genuine() -> BadInput:
    """The same words for all that can be wrong: which of them, is not said."""
    return BadInput(NOT_GENUINE, param="credential", code="sign_in_failed")


def still_drawing() -> BadInput:
    return BadInput("something is being drawn: let it end, or sign in without what is here", param="bring")


def passkey_state(row: PasskeyRow) -> Passkey:
    return Passkey(
        id=row.id,
        label=row.label,
        created_on=row.created_on.isoformat(),
        last_used_on=row.last_used_on.isoformat() if row.last_used_on else None,
    )


def _make(
    db: Session, new: NewPasskey, account_id: str, asked: SignUp, caller: Caller, services: Services
) -> tuple[Owner, list[str], str, list[WithdrawnCopy]]:
    """Raises KnownPasskey, StillDrawing."""
    keyring, now = services.keyring, services.clock()
    account = add_account(db, PLAN, keyring, now, account_id)
    db.flush()
    add_passkey(db, account, new, asked.label, now)
    codes = new_codes(db, account, keyring, now)
    kept_for_s = services.training.proofs_kept_for_s
    withdrawn = lift(db, caller, account, keyring, now, kept_for_s) if asked.bring else []
    return account, codes, add_sign_in(db, account, keyring, now), withdrawn


def account_state(db: Session, account: Owner) -> Account:
    row = db.get(AccountRow, account.id)
    if row is None:
        raise NotFound("this account was deleted")
    return Account(
        id=row.id,
        plan=row.plan,
        created_on=row.created_on.isoformat(),
        passkeys=[passkey_state(each) for each in passkeys_of(db, account)],
        recovery_codes_left=count_codes(db, account),
    )


account_routes = Router(
    "/v1/account",
    route_handlers=[ask_challenge, sign_up, show_account, delete_account],
    tags=["account"],
    opt=needs("account"),
)
