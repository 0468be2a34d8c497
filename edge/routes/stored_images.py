"""`/v1/images/{id}`: the caller's own pictures while they last: their state, a shorter time, deletion."""

from functools import partial
from typing import Annotated

from litestar import Router, delete, get, patch
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Struct, UnsetType

from edge.db.rows import ConsentRow, ImageRow
from edge.domain import jobs
from edge.domain.deletions import Deletion
from edge.domain.lifetimes import shorten, shorter
from edge.domain.owner import Caller
from edge.domain.training import find_copy
from edge.errors import NotFound
from edge.guards.scopes import needs
from edge.routes.deletion import Deleted, deleted
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.replies import StoredImage, stored_image
from edge.routes.strict_body import StrictBody
from edge.services import Services

ImageIdPath = Annotated[str, PathParameter(description="An image's id.", max_length=64)]


class ImageUpdate(Struct, frozen=True, forbid_unknown_fields=True):
    """`retention`: an ISO 8601 duration, counted from storing, or `on_download`; only what is shorter."""

    retention: str | UnsetType = UNSET


@get("/{image_id:str}", responses=api_errors(404))
async def show_image(image_id: ImageIdPath, caller: GivenCaller, services: GivenServices) -> StoredImage:
    return stored_image(await find_image(image_id, caller, services), caller, services)


@patch(
    "/{image_id:str}",
    opt=needs("generate"),
    dto=StrictBody[ImageUpdate],
    return_dto=None,
    responses=api_errors(404, 413, 415),
)
async def shorten_image(
    image_id: ImageIdPath, data: JSONBody[ImageUpdate], caller: GivenCaller, services: GivenServices
) -> StoredImage | Deleted:
    """A time that has passed already deletes at once, and answers as a deletion does."""
    row = await find_image(image_id, caller, services)
    if data.retention is UNSET:
        return stored_image(row, caller, services)
    to = shorter(row, data.retention)
    if to.delete_at <= services.clock():
        return deleted(await services.deletions.delete_image(row))
    await services.database.write(partial(shorten, image_id=row.id, to=to))
    if to.on_download:
        await services.deletions.withdraw_copies(ConsentRow.id == row.id)
    return stored_image(await find_image(image_id, caller, services), caller, services)


@delete("/{image_id:str}", opt=needs("generate"), status_code=200, responses=api_errors(404))
async def delete_image(image_id: ImageIdPath, caller: GivenCaller, services: GivenServices) -> Deleted:
    """With its copy for training, if there is one; that copy alone where the picture has gone before."""
    return deleted(await delete_picture(image_id, caller, services))


async def delete_picture(image_id: str, caller: Caller, services: Services) -> Deletion:
    """And its copy for training; or that alone, which may outlive the picture. Raises NotFound."""
    try:
        return await services.deletions.delete_image(await find_image(image_id, caller, services))
    except NotFound:
        copy = await services.database.read(partial(find_copy, owner=caller.owner, image_id=image_id))
        if copy is None:
            raise
        return await services.deletions.delete_copy(copy)


async def find_image(image_id: str, caller: Caller, services: Services) -> ImageRow:
    """Raises NotFound: unknown, or somebody else's."""
    find = partial(jobs.find_image, owner=caller.owner, image_id=image_id, now=services.clock())
    row = await services.database.read(find)
    if row is None:
        raise NotFound("there is no such image")
    return row


stored_image_routes = Router(
    "/v1/images", route_handlers=[show_image, shorten_image, delete_image], tags=["images"], opt=needs("read")
)
