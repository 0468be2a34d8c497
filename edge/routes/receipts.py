"""Receipts of deletions: the key that signs them, what each says, when its objects were last looked for."""

import logging
from functools import partial
from typing import Annotated, Literal

from litestar import Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct

from edge.domain.receipts import Claims, Receipt, ReceiptBroken, find_look, find_receipt, read_receipt
from edge.errors import NotFound
from edge.routes.documented import api_errors, problems
from edge.routes.given import GivenServices
from edge.routes.strict_body import StrictBody
from edge.services import Services

log = logging.getLogger(__name__)

ReceiptIdPath = Annotated[str, PathParameter(description="A receipt's id: its `jti`.", max_length=64)]


class PublicKey(Struct, frozen=True):
    """The public half of an Ed25519 key (RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class KeySetReply(Struct, frozen=True):
    keys: list[PublicKey]


class ReceiptState(Struct, frozen=True, kw_only=True):
    """`found`: how many of its objects the last look still found, and deleted; null before the first look.

    `looked_for_until`: when the store's own rules must have removed the last of them, and two days more.
    """

    id: str
    object: Literal["receipt"] = "receipt"
    receipt: str
    claims: Claims
    checked_at: int | None
    found: int | None
    looked_for_until: int | None


class ToVerify(Struct, frozen=True, forbid_unknown_fields=True):
    receipt: Annotated[str, Meta(min_length=1, max_length=100_000)]


class Verdict(Struct, frozen=True, kw_only=True):
    """`reason` says why it is not valid; `is_known`: our own record of it is still there."""

    object: Literal["verdict"] = "verdict"
    valid: bool
    reason: str | None = None
    claims: Claims | None = None
    is_known: bool = False
    checked_at: int | None = None
    found: int | None = None


@get("/.well-known/jwks.json", media_type="application/json", responses=problems(), tags=["privacy"], return_dto=None)
async def key_set(services: GivenServices) -> KeySetReply:
    return KeySetReply([PublicKey(**key) for key in services.signer.key_set["keys"]])


@get("/{receipt_id:str}", responses=api_errors(404))
async def show_receipt(receipt_id: ReceiptIdPath, services: GivenServices) -> ReceiptState:
    """For whoever knows its id; it names nobody."""
    receipt = await kept_receipt(receipt_id, services)
    return ReceiptState(
        id=receipt.id,
        receipt=receipt.jws,
        claims=receipt.claims,
        checked_at=receipt.checked_at,
        found=receipt.found,
        looked_for_until=receipt.checked_until,
    )


async def kept_receipt(receipt_id: str, services: Services) -> Receipt:
    """Raises NotFound: also where our record was changed, or the key that signed it is not ours any more."""
    find = partial(find_receipt, receipt_id=receipt_id, signer=services.signer)
    try:
        receipt = await services.database.read(find)
    except ReceiptBroken as error:
        log.error("the record of a receipt does not verify: %s", error)
        raise NotFound(f"our record of this receipt does not verify: {error}") from error
    if receipt is None:
        raise NotFound("there is no such receipt, or it was kept long enough")
    return receipt


@post(
    "/verify",
    dto=StrictBody[ToVerify],
    return_dto=None,
    status_code=200,
    responses={200: ResponseSpec(Verdict, generate_examples=False), **api_errors(413, 415)},
)
async def verify_receipt(data: JSONBody[ToVerify], services: GivenServices) -> Verdict:
    try:
        claims = read_receipt(data.receipt, services.signer.key_set)
    except ReceiptBroken as error:
        return Verdict(valid=False, reason=str(error))
    look = await services.database.read(partial(find_look, receipt_id=claims.jti))
    if look is None:
        return Verdict(valid=True, claims=claims)
    return Verdict(valid=True, claims=claims, is_known=True, checked_at=look.checked_at, found=look.found)


receipt_routes = Router("/v1/privacy/receipts", route_handlers=[show_receipt, verify_receipt], tags=["privacy"])
