"""`/v1/privacy/requests`: what a person of the operator's must answer, with the law's clock."""

from functools import partial
from typing import Literal

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Struct

from edge.db.rows import RightsRequestRow
from edge.domain.rights_requests import Kind, Law, RightsRequest, add_request, requests_of
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody


class RightsRequestState(Struct, frozen=True, kw_only=True):
    """`due_at`: when the law wants it answered, in Unix seconds; `forgotten_at` is known once it was."""

    id: str
    object: Literal["rights_request"] = "rights_request"
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
    return Response(_state(await services.database.write(add)))


@get("/", responses=api_errors())
async def list_requests(caller: GivenCaller, services: GivenServices) -> RightsRequests:
    rows = await services.database.read(partial(requests_of, owner=caller.owner))
    return RightsRequests([_state(row) for row in rows])


def _state(row: RightsRequestRow) -> RightsRequestState:
    return RightsRequestState(
        id=row.id,
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


request_routes = Router("/v1/privacy/requests", route_handlers=[create_request, list_requests], tags=["privacy"])
