"""`/v1/keys`: an account's API keys, for a key that may manage them. A key is shown once, when it is made.

Nobody hands out what they lack: neither by a new key nor by replacing one that may do more.
"""

from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from litestar import Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct

from edge.db.rows import ApiKeyRow
from edge.domain.api_keys import (
    MOST_KEYS,
    KeyEnded,
    MadeKey,
    NewKey,
    TooManyKeys,
    add_key,
    find_key,
    keys_of,
    replace_key,
    revoke_key,
    scopes_of,
)
from edge.domain.owner import Caller, KeyScope, Scope
from edge.errors import BadInput, InsufficientScope, NotFound
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody
from edge.services import Services

LONGEST = timedelta(days=3650)
LONGEST_GRACE = timedelta(days=1)

KeyIdPath = Annotated[str, PathParameter(description="A key's id.", max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Scopes = Annotated[list[KeyScope], Meta(min_length=1, max_length=8)]


class KeyWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """`expires_in`: an ISO 8601 duration, such as `P90D`; without one the key works until it is revoked."""

    name: Name
    scopes: Scopes
    expires_in: timedelta | None = None


class Rotated(Struct, frozen=True, forbid_unknown_fields=True):
    """`grace`: how long the old key works yet, at most a day; without one it ends at once.

    Without `expires_in` the new key ends when the old one would have.
    """

    grace: timedelta | None = None
    expires_in: timedelta | None = None


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key without itself: `hint` is its beginning and its end. Days are UTC, times Unix seconds."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    hint: str
    scopes: list[Scope]
    created_on: str
    last_used_on: str | None
    expires_at: int | None
    revoked_at: int | None


class ShownKey(Struct, frozen=True, kw_only=True):
    """`key` is told this once. Who loses it makes another."""

    id: str
    object: Literal["api_key"] = "api_key"
    key: str
    name: str
    hint: str
    scopes: list[Scope]
    created_on: str
    expires_at: int | None


class ApiKeys(Struct, frozen=True):
    data: list[ApiKey]
    has_more: bool = False
    object: Literal["list"] = "list"


@get("/", responses=api_errors())
async def list_keys(caller: GivenCaller, services: GivenServices) -> ApiKeys:
    return ApiKeys([_state(row) for row in await services.database.read(partial(keys_of, account=caller.owner))])


@post(
    "/",
    dto=StrictBody[KeyWanted],
    return_dto=None,
    responses={201: ResponseSpec(ShownKey, generate_examples=False), **api_errors(404, 413, 415)},
)
async def create_key(data: JSONBody[KeyWanted], caller: GivenCaller, services: GivenServices) -> Response[ShownKey]:
    now = services.clock()
    _require_all(frozenset(data.scopes), caller)
    wanted = NewKey(name=data.name, scopes=frozenset(data.scopes), expires_at=_end(data.expires_in, now))
    add = partial(add_key, account=caller.owner, wanted=wanted, keyring=services.keyring, now=now)
    try:
        return Response(_shown(await services.database.write(add)))
    except TooManyKeys:
        raise _too_many() from None


@post(
    "/{key_id:str}/rotate",
    dto=StrictBody[Rotated],
    return_dto=None,
    responses={201: ResponseSpec(ShownKey, generate_examples=False), **api_errors(404, 413, 415)},
)
async def rotate_key(
    key_id: KeyIdPath, data: JSONBody[Rotated], caller: GivenCaller, services: GivenServices
) -> Response[ShownKey]:
    now = services.clock()
    old = await _find(key_id, caller, services)
    _require_all(scopes_of(old), caller)
    expires_at = old.expires_at if data.expires_in is None else _end(data.expires_in, now)
    wanted = NewKey(name=old.name, scopes=scopes_of(old), expires_at=expires_at)
    grace = _within(data.grace or timedelta(0), timedelta(0), LONGEST_GRACE, "grace")
    replace = partial(
        replace_key, old=old, wanted=wanted, keyring=services.keyring, now=now, grace_s=grace.total_seconds()
    )
    try:
        made = await services.database.write(replace)
    except TooManyKeys:
        raise _too_many() from None
    except KeyEnded:
        raise BadInput("this key does not work any more: make a new one", param="key_id") from None
    services.known_keys.forget(old.id)
    return Response(_shown(made))


@delete("/{key_id:str}", status_code=200, responses=api_errors(404))
async def revoke(key_id: KeyIdPath, caller: GivenCaller, services: GivenServices) -> ApiKey:
    """It is refused within a second, everywhere. Revoking it again changes nothing."""
    await services.database.write(
        partial(revoke_key, key_id=(await _find(key_id, caller, services)).id, now=services.clock())
    )
    services.known_keys.forget(key_id)
    return _state(await _find(key_id, caller, services))


async def _find(key_id: str, caller: Caller, services: Services) -> ApiKeyRow:
    row = await services.database.read(partial(find_key, account=caller.owner, key_id=key_id))
    if row is None:
        raise NotFound("there is no such key")
    return row


def _require_all(scopes: frozenset[Scope], caller: Caller) -> None:
    """Raises InsufficientScope."""
    for scope in sorted(scopes - caller.scopes):
        raise InsufficientScope(scope)


def _end(expires_in: timedelta | None, now: float) -> int | None:
    if expires_in is None:
        return None
    return int(now + _within(expires_in, timedelta(minutes=1), LONGEST, "expires_in").total_seconds())


def _within(duration: timedelta, shortest: timedelta, longest: timedelta, param: str) -> timedelta:
    if not shortest <= duration <= longest:
        raise BadInput(f"from {int(shortest.total_seconds())} s to {longest.days} days", param=param)
    return duration


def _too_many() -> BadInput:
    return BadInput(f"an account has at most {MOST_KEYS} keys that work: revoke one first")


def _state(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        hint=row.hint,
        scopes=sorted(scopes_of(row)),
        created_on=row.created_on.isoformat(),
        last_used_on=row.last_used_on.isoformat() if row.last_used_on else None,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _shown(made: MadeKey) -> ShownKey:
    row = made.row
    return ShownKey(
        id=row.id,
        key=made.text,
        name=row.name,
        hint=row.hint,
        scopes=sorted(scopes_of(row)),
        created_on=row.created_on.isoformat(),
        expires_at=row.expires_at,
    )


key_routes = Router(
    "/v1/keys", route_handlers=[list_keys, create_key, rotate_key, revoke], tags=["keys"], opt=needs("keys")
)
