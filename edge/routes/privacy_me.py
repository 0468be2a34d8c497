"""`/v1/privacy/me`: everything that is held of the caller, all of it as a zip, and its erasure.

A session without an account is as much an owner as any other.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from litestar import Response, Router, delete, get
from litestar.datastructures import Cookie
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter
from litestar.response import Stream
from msgspec import Struct
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow
from edge.domain.export import Export, ExportedData
from edge.domain.owner import Caller, Owner
from edge.domain.rights import HeldClass, Readable, holdings, images_of_owner, own_rows, streams_of
from edge.domain.training import Choice, copies_of
from edge.errors import BadInput
from edge.guards.auth import ApiRequest, cookie_name, sign_in_cookie_name
from edge.guards.scopes import needs
from edge.routes.deletion import Deleted, deleted
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.services import Services
from edge.settings import Settings
from policies.publish import published

CONFIRMED = "erase"
ERASE = "erase everything"  # what a page's one-time token allows

ResponseT = TypeVar("ResponseT", bound=Response[Any])

Confirmation = Annotated[
    str,
    HeaderParameter(
        name="Sfumato-Confirm", max_length=128, description="`erase`, or the one-time token of /your-data."
    ),
]


class HeldImage(Struct, frozen=True, kw_only=True):
    """`expires_at` at the latest; with `on_download`, a minute after the first whole download."""

    id: str
    expires_at: int
    on_download: bool


class HeldCopy(Struct, frozen=True, kw_only=True):
    """A copy for training, by its picture's id; `DELETE /v1/images/{id}` takes it back, the picture gone or not."""

    id: str
    expires_at: int


class Held(Struct, frozen=True, kw_only=True):
    """Everything that is held of you, by class of the policy. Times in Unix seconds.

    `prompts_read_at`: when a person of the operator's read one of your kept prompts, which is written down each time.
    """

    object: Literal["held"] = "held"
    as_of: int
    owner: Literal["session", "account"]
    classes: list[HeldClass]
    images: list[HeldImage]
    copies: list[HeldCopy]
    training: Choice | None
    prompts_read_at: list[int]
    undisclosed: str


@get("/", responses=api_errors())
async def show_held(caller: GivenCaller, services: GivenServices) -> Held:
    now = services.clock()
    streams = await streams_of(caller.owner, services.database, services.policies, services.hub, now)
    subject = services.keyring.subject(caller.owner)
    ask = partial(holdings, owner=caller.owner, policies=services.policies, streams=streams, now=now, subject=subject)
    held = await services.database.read(ask)
    copies = await services.database.read(partial(copies_of, owner=caller.owner))
    return Held(
        as_of=int(now),
        owner=caller.owner.kind,
        classes=held.classes,
        images=[HeldImage(id=row.id, expires_at=row.delete_at, on_download=row.on_download) for row in held.images],
        copies=[HeldCopy(id=copy.id, expires_at=copy.delete_at) for copy in copies],
        training=held.training,
        prompts_read_at=held.prompts_read_at,
        undisclosed=services.policies.retention.undisclosed,
    )


@get(
    "/export",
    responses={
        200: ResponseSpec(
            bytes,
            media_type="application/zip",
            description="A zip: `data.json`, `pictures/`, `README.txt`.",
            generate_examples=False,
        ),
        **api_errors(),
    },
)
async def export(caller: GivenCaller, services: GivenServices) -> Stream:
    now = services.clock()
    subject = services.keyring.subject(caller.owner)
    rows, images = await services.database.read(partial(_all_of, owner=caller.owner, now=now, subject=subject))
    data = ExportedData(
        made_at=datetime.fromtimestamp(now, UTC).isoformat(),
        owner_kind=caller.owner.kind,
        owner_id=caller.owner.id,
        rows=rows,
        policy=published(services.policies),
    )
    opened = [(image, caller.secret_of(image)) for image in images]  # what is refused is refused before it leaves
    leaving = Export(data, opened, services.store, now)
    disposition = {"Content-Disposition": 'attachment; filename="sfumato-export.zip"'}
    return Stream(leaving.stream(), media_type="application/zip", headers=disposition)


@delete(
    "/",
    status_code=200,
    responses={200: ResponseSpec(Deleted, generate_examples=False), **api_errors()},
)
async def erase_me(
    request: ApiRequest, caller: GivenCaller, services: GivenServices, sfumato_confirm: Confirmation = ""
) -> Response[Deleted]:
    return await erase_confirmed(request, caller, services, sfumato_confirm)


async def erase_confirmed(
    request: ApiRequest, caller: Caller, services: Services, confirmation: str
) -> Response[Deleted]:
    """All that is the caller's. Raises BadInput where it was not said twice."""
    is_confirmed = confirmation == CONFIRMED or services.page_tokens.spend(
        confirmation, caller.owner, ERASE, services.clock()
    )
    if not is_confirmed:
        raise BadInput("everything would go: say so with the header `Sfumato-Confirm: erase`", param="Sfumato-Confirm")
    reply = deleted(await services.deletions.delete_owner(caller.owner))
    if "authorization" in request.headers:
        return Response(reply)
    return forgotten(Response(reply), caller.owner, services)


def forgotten(reply: ResponseT, owner: Owner, services: Services) -> ResponseT:
    """The browser that gets it forgets this owner.

    Beside an account it may have a session, whose cookie is all that opens what was not brought along: that one stays.
    """
    settings = services.settings
    reply.cookies = [without(sign_in_cookie_name(settings), settings)]
    cleared = '"cache", "storage"'
    if owner.kind == "session":
        reply.cookies.append(without(cookie_name(settings), settings))
        cleared = '"cache", "cookies", "storage"'
    reply.headers["Clear-Site-Data"] = cleared
    return reply


def without(name: str, settings: Settings) -> Cookie:
    return Cookie(key=name, value="", max_age=0, path="/", secure=settings.is_https, httponly=True, samesite="lax")


def _all_of(
    db: Session, owner: Owner, now: float, subject: str
) -> tuple[dict[str, list[dict[str, Readable]]], list[ImageRow]]:
    return own_rows(db, owner, subject), images_of_owner(db, owner, now)


me_routes = Router(
    "/v1/privacy/me", route_handlers=[show_held, export, erase_me], tags=["privacy"], opt=needs("privacy")
)
