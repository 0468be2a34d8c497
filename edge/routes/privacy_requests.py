"""`/v1/privacy/requests`: what a person of the operator's must answer, with the law's clock."""

from functools import partial
from typing import Annotated, Literal

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Struct

from edge.db.rows import RightsRequestRow
from edge.domain.rights_requests import Kind, Law, RightsRequest, add_request, find_request, request_token, requests_of
from edge.errors import NotFound
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody
from edge.services import Services

RequestTokenPath = Annotated[str, PathParameter(description="The last part of a request's `url`.", max_length=64)]


class RightsRequestState(Struct, frozen=True, kw_only=True):
    """`due_at`: when the law wants it answered, in Unix seconds; `forgotten_at` is known once it was.

    `url`: where its sender reads the answer, whatever became of the session: the law's clock may run longer. Keep it,
    and keep it to yourself.
    """

    id: str
    object: Literal["rights_request"] = "rights_request"
    url: str
    kind: Kind
    law: Law
    message: str
    status: Literal["waiting", "answered"]
    answer: str | None
    created_at: int
    due_at: int
    closed_at: int | None
    forgotten_at: int | None


class RightsRequests(Struct, frozen=True):
    data: list[RightsRequestState]
    has_more: bool = False
    object: Literal["list"] = "list"


@post(
    "/",
    dto=StrictBody[RightsRequest],
    return_dto=None,
    responses={201: ResponseSpec(RightsRequestState, generate_examples=False), **api_errors(413, 415)},
)
async def create_request(
    data: JSONBody[RightsRequest], caller: GivenCaller, services: GivenServices
) -> Response[RightsRequestState]:
    add = partial(add_request, owner=caller.owner, request=data, now=services.clock())
    return Response(_state(await services.database.write(add), services))


@get("/", responses=api_errors())
async def list_requests(caller: GivenCaller, services: GivenServices) -> RightsRequests:
    rows = await services.database.read(partial(requests_of, owner=caller.owner))
    return RightsRequests([_state(row, services) for row in rows])


@get("/{token:str}", responses=api_errors(404))
async def show_request(token: RequestTokenPath, services: GivenServices) -> RightsRequestState:
    """For whoever holds its address."""
    row = await services.database.read(partial(find_request, token=token, keyring=services.keyring))
    if row is None:
        raise NotFound("there is no such request, or its time is over")
    return _state(row, services)


def _state(row: RightsRequestRow, services: Services) -> RightsRequestState:
    return RightsRequestState(
        id=row.id,
        url=f"{services.settings.public_url}/v1/privacy/requests/{request_token(row.id, services.keyring)}",
        kind=row.kind,  # pyright: ignore[reportArgumentType]  only these are ever written
        law=row.law,  # pyright: ignore[reportArgumentType]
        message=row.message,
        status="waiting" if row.closed_at is None else "answered",
        answer=row.answer,
        created_at=row.created_at,
        due_at=row.due_at,
        closed_at=row.closed_at,
        forgotten_at=row.forget_at,
    )


request_routes = Router(
    "/v1/privacy/requests",
    route_handlers=[create_request, list_requests, show_request],
    tags=["privacy"],
    opt=needs("privacy"),
)
