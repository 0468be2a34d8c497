"""`POST /v1/appeals` and `POST /v1/reports`: what a person of the operator's looks at, and where the sender reads what
became of it."""

from functools import partial
from typing import Annotated, Literal

from litestar import Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, PathParameter
from msgspec import Struct

from edge.db.rows import AppealRow, NoticeRow
from edge.domain.appeals import Appeal, add_appeal, new_appeal
from edge.domain.complaints import Status, complaint_token, find_complaint, status_of
from edge.domain.notices import Found, Kind, Report, add_notice, found_of, named_pictures, new_notice
from edge.domain.owner import Caller
from edge.guards.auth import ApiRequest
from edge.guards.client_address import caller_networks
from edge.guards.hosts import bare_host, own_hosts
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import StrictBody
from edge.services import Services

ComplaintTokenPath = Annotated[str, PathParameter(description="The last part of its `url`.", max_length=64)]


class AppealState(Struct, frozen=True, kw_only=True):
    """`upheld`: the refusal was wrong. `due_at`: until when it is to be decided, in Unix seconds.

    `url`: where its sender reads what became of it, whatever became of the session. Keep it, and keep it to yourself.
    """

    id: str
    object: Literal["appeal"] = "appeal"
    url: str
    reference: str
    status: Status
    answer: str | None
    created_at: int
    due_at: int
    closed_at: int | None
    forgotten_at: int | None


class ReportState(Struct, frozen=True, kw_only=True):
    """`upheld`: the pictures were removed. `found`: of each address, in the order in which they were named, whether its
    picture was here or gone when the report came. Else as of an appeal."""

    id: str
    object: Literal["report"] = "report"
    url: str
    kind: Kind
    found: list[Found]
    status: Status
    answer: str | None
    created_at: int
    due_at: int
    closed_at: int | None
    forgotten_at: int | None


@post(
    "/appeals",
    dto=StrictBody[Appeal],
    return_dto=None,
    responses={
        200: ResponseSpec(AppealState, description="The one that stands already.", generate_examples=False),
        201: ResponseSpec(AppealState, generate_examples=False),
        **api_errors(404, 413, 415),
    },
    opt=needs("generate"),
)
async def create_appeal(
    data: JSONBody[Appeal], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[AppealState]:
    """Objects to a refusal of one's own, by its reference; once at a time."""
    now, subject = services.clock(), services.keyring.subject(caller.owner)
    async with services.taken_appeals.counting_success(caller_networks(request.scope, services.settings)):
        new = new_appeal(data, subject, await services.notice_keys.today(now), now)
        new_id = new.id
        stands = await services.database.write(partial(add_appeal, new=new))
    return Response(_appeal(stands, services), status_code=201 if stands.id == new_id else 200)


@get("/appeals/{token:str}", responses=api_errors(404))
async def show_appeal(token: ComplaintTokenPath, services: GivenServices) -> AppealState:
    """For whoever holds its address."""
    find = partial(find_complaint, token=token, table=AppealRow, keyring=services.keyring)
    return _appeal(await services.database.read(find), services)


@post(
    "/reports",
    dto=StrictBody[Report],
    return_dto=None,
    responses={201: ResponseSpec(ReportState, generate_examples=False), **api_errors(413, 415)},
    opt=needs("generate"),
)
async def create_report(
    data: JSONBody[Report], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[ReportState]:
    """Reports pictures by their addresses. Nobody needs an account."""
    return Response(_report(await take_report(data, request, caller, services), services))


@get("/reports/{token:str}", responses=api_errors(404))
async def show_report(token: ComplaintTokenPath, services: GivenServices) -> ReportState:
    """For whoever holds its address."""
    return _report(await find_report(token, services), services)


async def take_report(report: Report, request: ApiRequest, caller: Caller, services: Services) -> NoticeRow:
    """Raises BadInput, RateLimited, NoDayKey, DatabaseUnavailable."""
    hosts = own_hosts(services.settings)
    named = named_pictures(report, lambda host: bare_host(host) in hosts, services.keyring)
    now, subject = services.clock(), services.keyring.subject(caller.owner)
    async with services.taken_reports.counting_success(caller_networks(request.scope, services.settings)):
        new = new_notice(report, named, subject, await services.notice_keys.today(now), now)
        return await services.database.write(partial(add_notice, new=new, named=named, now=now))


async def find_report(token: str, services: Services) -> NoticeRow:
    """Raises NotFound."""
    find = partial(find_complaint, token=token, table=NoticeRow, keyring=services.keyring)
    return await services.database.read(find)


def _appeal(row: AppealRow, services: Services) -> AppealState:
    return AppealState(
        id=row.id,
        url=f"{services.settings.public_url}/v1/appeals/{complaint_token(row, services.keyring)}",
        reference=row.decision_id,
        status=status_of(row),
        answer=row.answer,
        created_at=row.created_at,
        due_at=row.due_at,
        closed_at=row.closed_at,
        forgotten_at=row.forget_at,
    )


def _report(row: NoticeRow, services: Services) -> ReportState:
    return ReportState(
        id=row.id,
        url=f"{services.settings.public_url}/v1/reports/{complaint_token(row, services.keyring)}",
        kind=row.kind,  # pyright: ignore[reportArgumentType]  only these are ever written
        found=found_of(row),
        status=status_of(row),
        answer=row.answer,
        created_at=row.created_at,
        due_at=row.due_at,
        closed_at=row.closed_at,
        forgotten_at=row.forget_at,
    )


complaint_routes = Router(
    "/v1", route_handlers=[create_appeal, show_appeal, create_report, show_report], tags=["complaints"]
)
