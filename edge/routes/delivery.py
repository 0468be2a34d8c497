"""`/i/{token}`: the bytes of a picture for whoever holds its address, until it is gone; then 410, without a memory."""

import hmac
import logging
from functools import partial
from typing import Annotated

from litestar import Router, delete, route
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from edge.db.rows import ImageRow
from edge.domain.addresses import Address, digest, read_address
from edge.domain.jobs import find_addressed
from edge.domain.lifetimes import note_download
from edge.errors import DatabaseUnavailable, Gone, NotFound, Refusal
from edge.guards.auth import ApiRequest
from edge.routes.byte_range import requested_range
from edge.routes.deletion import Deleted, deleted
from edge.routes.documented import problems
from edge.routes.given import GivenServices
from edge.routes.whole_delivery import WholeDelivery
from edge.services import Services
from serve_app.storage.sealing import SealBroken, unseal
from serve_app.storage.store import ObjectGone

log = logging.getLogger(__name__)

TokenPath = Annotated[str, PathParameter(description="The address of an image.", max_length=128)]
Download = Annotated[bool, QueryParameter(name="download", description="As a file to save.")]

HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Robots-Tag": "noindex, noarchive, noimageindex",
    "Accept-Ranges": "bytes",
}
PICTURE = ResponseSpec(
    bytes, media_type="image/png", description="The picture: png, webp or jpeg.", generate_examples=False
)


@route(
    "/{token:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    responses={200: PICTURE, 206: PICTURE, **problems(404, 410)},
)
async def deliver_image(
    token: TokenPath, request: ApiRequest, services: GivenServices, download: Download = False
) -> ASGIApp:
    address = _read(token, services)
    row = await _find(address, token, services)
    try:
        data = unseal(address.secret, row.key, await services.store.get(row.key))
    except ObjectGone:
        raise _gone() from None
    except SealBroken as error:
        log.error("the stored bytes of image %s do not open", row.id)
        raise Refusal("This image was damaged in the store.") from error
    disposition = "attachment" if download else "inline"
    headers = {**HEADERS, "Content-Disposition": f'{disposition}; filename="image.{row.output_format}"'}
    media_type = f"image/{row.output_format}"
    if row.on_download and _counts(request, data):
        return WholeDelivery(data, partial(_note, row, services), headers=headers, media_type=media_type)
    return _picture(data, request, headers, media_type)


@delete("/{token:str}", status_code=200, responses=problems(404, 410))
async def delete_addressed_image(token: TokenPath, services: GivenServices) -> Deleted:
    row = await _find(_read(token, services), token, services)
    return deleted(await services.deletions.delete_addressed(row))


def _read(token: str, services: Services) -> Address:
    address = read_address(token, services.keyring)
    if address is None:
        raise NotFound("this is not the address of an image")
    if address.delete_at <= services.clock():
        raise _gone()
    return address


async def _find(address: Address, token: str, services: Services) -> ImageRow:
    row = await services.database.read(partial(find_addressed, image_id=address.image_id, now=services.clock()))
    if row is None or not hmac.compare_digest(row.token_digest, digest(token)):
        raise _gone()
    return row


def _picture(data: bytes, request: ApiRequest, headers: dict[str, str], media_type: str) -> ASGIResponse:
    part = requested_range(request.headers.get("range"), len(data))
    if part is None:
        status, body = 200, data
    else:
        status, body = 206, data[part.start : part.stop]
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    if request.method == HttpMethod.HEAD:
        headers["Content-Length"] = str(len(body))
        return ASGIResponse(status_code=status, headers=headers, media_type=media_type, is_head_response=True)
    return ASGIResponse(body=body, status_code=status, headers=headers, media_type=media_type)


def _counts(request: ApiRequest, data: bytes) -> bool:
    """As a download: the whole picture, for somebody who asked for it and not for a browser that guesses."""
    is_prefetch = any("prefetch" in request.headers.get(name, "") for name in ("sec-purpose", "purpose"))
    is_part = requested_range(request.headers.get("range"), len(data)) is not None
    return request.method == HttpMethod.GET and not is_prefetch and not is_part


async def _note(row: ImageRow, services: Services) -> None:
    """Without the database it goes at its outer limit, as one that nobody fetched."""
    try:
        await services.database.write(partial(note_download, image_id=row.id, now=services.clock()))
    except DatabaseUnavailable:
        log.warning("the database does not answer: the download of image %s is not noted", row.id)


def _gone() -> Gone:
    return Gone("this image is gone: its time came, or it was deleted")


delivery_routes = Router("/i", route_handlers=[deliver_image, delete_addressed_image], tags=["images"])
