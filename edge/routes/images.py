"""`POST /v1/images/generations` as OpenAI's clients expect it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from litestar import Response, Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from edge.domain.events import Ended
from edge.domain.limits.gate import PICTURES
from edge.domain.orders import order_images
from edge.domain.owner import Caller
from edge.domain.requests import ImageRequest
from edge.domain.run import Run
from edge.guards.auth import ApiRequest
from edge.guards.limits import CHARGES, start_charged
from edge.guards.scopes import needs
from edge.routes.documented import WHILE_IT_WAITS, api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.image_stream import stream_images
from edge.routes.replies import ImagesReply, image_data, refusal_of
from edge.routes.strict_body import PICTURE_BODY_BYTES, StrictBody
from edge.services import Services


@post(
    "/images/generations",
    dto=StrictBody[ImageRequest],
    return_dto=None,
    request_max_body_size=PICTURE_BODY_BYTES,
    status_code=200,
    opt={CHARGES: PICTURES},
    responses={
        200: ResponseSpec(ImagesReply, description=f"A stream: {WHILE_IT_WAITS}", generate_examples=False),
        **api_errors(409, 413, 415),
    },
)
async def generate_images(
    data: JSONBody[ImageRequest], request: ApiRequest, caller: GivenCaller, services: GivenServices
) -> Response[ImagesReply | None]:
    arrived_at = services.moderation.stopwatch()
    order = order_images(data, caller.plan, services.policies, services.training)
    start = partial(services.runs.start_call, caller, order, keeps_some=bool(data.stream))
    judged = partial(services.moderation.once_allowed, start, order.prompt, caller, arrived_at)
    run = await start_charged(request, services, order.n, judged)
    if data.stream:
        return await stream_images(run, caller, services)  # pyright: ignore[reportReturnType]
    async with leaves_with_client(request, run):
        ended = await run.finished()
    return Response(_images_reply(run, ended, caller, services))


@asynccontextmanager
async def leaves_with_client(request: ApiRequest, run: Run) -> AsyncGenerator[None]:
    """While inside, a client that hangs up cancels the run."""
    watching = asyncio.create_task(_cancel_on_disconnect(request, run))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _cancel_on_disconnect(request: ApiRequest, run: Run) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    run.cancel()


def _images_reply(run: Run, ended: Ended, caller: Caller, services: Services) -> ImagesReply:
    """Raises what `refusal_of` says."""
    if ended.status != "succeeded":
        raise refusal_of(ended, run.job_id)
    order = run.order
    made = [run.made[index] for index in sorted(run.made)]
    return ImagesReply(
        created=run.job.created_at,
        data=[image_data(each, order, caller, services, inline=order.inline) for each in made],
        output_format=order.output_format,
        size=str(order.size),
        quality=order.quality,
        truncated=ended.truncated,
    )


image_routes = Router("/v1", route_handlers=[generate_images], tags=["images"], opt=needs("generate"))
