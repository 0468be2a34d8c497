"""`/v1/generations`: the same work as a job, to be asked about, followed, cancelled and deleted."""

from functools import partial
from typing import Annotated

from litestar import Response, Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter

from edge.db.rows import JobRow
from edge.domain import jobs
from edge.domain.limits.gate import PICTURES
from edge.domain.orders import Order, order_job
from edge.domain.owner import Caller, JobId
from edge.domain.requests import JobRequest
from edge.errors import BadInput, NotFound
from edge.guards.auth import ApiRequest
from edge.guards.limits import CHARGES, start_charged
from edge.guards.scopes import needs
from edge.routes.deletion import Deleted, deleted
from edge.routes.documented import QUEUE_HEADERS, WHILE_IT_WAITS, api_errors
from edge.routes.generation_events import follow_ended, follow_job
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.replies import Generation, Generations, Quote
from edge.routes.shown_jobs import just_accepted, queue_headers, shown
from edge.routes.sse import EventStream
from edge.routes.strict_body import PICTURE_BODY_BYTES, StrictBody
from edge.services import Services
from serve_app.contract import ModelStatus

JobIdPath = Annotated[str, PathParameter(description="A generation's id.", max_length=64)]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many, newest first.")]
After = Annotated[
    str | None, QueryParameter(name="after", max_length=64, description="The last id of the page before.")
]
DryRun = Annotated[bool, QueryParameter(name="dry_run", description="Only quote; start nothing.")]


@post(
    "/",
    dto=StrictBody[JobRequest],
    return_dto=None,
    request_max_body_size=PICTURE_BODY_BYTES,
    status_code=202,
    opt={CHARGES: PICTURES, **needs("generate")},
    responses={
        200: ResponseSpec(Quote, description="The quote of a dry run.", generate_examples=False),
        202: ResponseSpec(Generation, description=f"Accepted. {WHILE_IT_WAITS}", generate_examples=False),
        **api_errors(413, 415),
    },
)
async def create_generation(
    data: JSONBody[JobRequest],
    request: ApiRequest,
    caller: GivenCaller,
    services: GivenServices,
    dry_run: DryRun = False,
) -> Response[Generation | Quote]:
    arrived_at = services.moderation.stopwatch()
    order = order_job(data, caller.plan, services.policies, services.training)
    if dry_run:
        await services.moderation.require_allowed(order.prompt, caller, arrived_at)
        return Response(_quote(order, await services.generator.status(order.model)), status_code=200)
    unwatched = bool(data.cancel_when_unwatched)
    start = partial(services.runs.start_job, caller, order, cancel_when_unwatched=unwatched)
    judged = partial(services.moderation.once_allowed, start, order.prompt, caller, arrived_at)
    run = await start_charged(request, services, order.n, judged)
    reply = await just_accepted(run.job, caller, services)
    return Response(reply, headers={"Location": f"/v1/generations/{run.job_id}", **queue_headers(reply.queue)})


@get("/", responses=api_errors())
async def list_generations(
    caller: GivenCaller, services: GivenServices, limit: Limit = 20, after: After = None
) -> Generations:
    last = None if after is None else await _page_end(after, caller, services)
    page = await services.database.read(partial(jobs.list_jobs, owner=caller.owner, limit=limit, after=last))
    return Generations(await shown(page[:limit], caller, services), has_more=len(page) > limit)


@get("/{job_id:str}", response_headers=QUEUE_HEADERS, responses=api_errors(404))
async def show_generation(job_id: JobIdPath, caller: GivenCaller, services: GivenServices) -> Response[Generation]:
    [reply] = await shown([await _find(job_id, caller, services)], caller, services)
    return Response(reply, headers=queue_headers(reply.queue))


@get(
    "/{job_id:str}/events",
    responses={
        200: ResponseSpec(
            str,
            media_type="text/event-stream",
            description="Server-sent events: queued, step, preview, image, and last the status.",
            generate_examples=False,
        ),
        204: ResponseSpec(None, description="Nothing came after `Last-Event-ID`, and nothing will: stop asking."),
        **api_errors(404),
    },
)
async def follow_generation(
    job_id: JobIdPath,
    caller: GivenCaller,
    services: GivenServices,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID", max_length=20)] = None,
) -> EventStream | Response[None]:
    if last_event_id is not None and not (last_event_id.isascii() and last_event_id.isdecimal()):
        raise BadInput("not the id of an event", param="Last-Event-ID")
    job = await _find(job_id, caller, services)
    channel = await services.hub.reach(JobId(job.id), is_open=job.status in jobs.OPEN_STATES)
    if channel is None:
        return EventStream(follow_ended(job.id, caller, services))
    after = int(last_event_id or 0)
    if channel.is_over(after):
        return Response(None, status_code=204)
    return EventStream(follow_job(job.id, channel.listen(after), caller, services))


@delete("/{job_id:str}", status_code=200, opt=needs("generate"), responses=api_errors(404))
async def delete_generation(job_id: JobIdPath, caller: GivenCaller, services: GivenServices) -> Deleted:
    """Cancels a generation that is under way; deletes one that has ended. What it made goes in both cases."""
    return deleted(await services.deletions.delete_generation(await _find(job_id, caller, services)))


async def _find(job_id: str, caller: Caller, services: Services) -> JobRow:
    job = await services.database.read(partial(jobs.find_job, owner=caller.owner, job_id=job_id))
    if job is None:
        raise NotFound("there is no such generation")
    return job


async def _page_end(job_id: str, caller: Caller, services: Services) -> JobRow:
    try:
        return await _find(job_id, caller, services)
    except NotFound as error:
        raise BadInput("there is no such generation to go on from", param="after") from error


def _quote(order: Order, status: ModelStatus) -> Quote:
    """The estimate: everything that waits first, then these rows, at the speed measured last."""
    rows = order.n * (2 if order.guidance > 1 else 1)
    ahead = status.waiting_rows + status.running_rows
    eta_s = order.steps * (ahead + rows) / status.rows_per_s if status.rows_per_s > 0 else None
    return Quote(model=order.model, n=order.n, size=str(order.size), steps=order.steps, eta_s=eta_s)


generation_routes = Router(
    "/v1/generations",
    route_handlers=[create_generation, list_generations, show_generation, follow_generation, delete_generation],
    tags=["generations"],
    opt=needs("read"),
)
