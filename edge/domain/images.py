"""From an engine's image to a row, and from a row to its address for the one who may have it."""

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy.orm import Session

from edge.db.rows import ConsentRow, ImageRow
from edge.db.statements import Share
from edge.domain import jobs
from edge.domain.addresses import address_for, address_token, digest
from edge.domain.keyring import Keyring
from edge.domain.orders import Order
from edge.domain.owner import Caller, JobId
from edge.domain.training import Word, add_consent
from serve_app.contract import Image


class NewImage(Struct, frozen=True):
    """A stored image and its copy for training, if one was made, to be written down.

    `word`: of its owner, when the job was accepted. `siblings`: how many of the job's images were written down before.
    Where one of them has gone, this one's seed is not written: the other's would follow from it.
    """

    row: ImageRow
    copy: ConsentRow | None
    word: Word | None
    siblings: int = 0


def image_row(image: Image, order: Order, job_id: JobId, caller: Caller, keyring: Keyring, now: float) -> ImageRow:
    """For an image that the replica stored. Raises ValueError when it says not where."""
    if image.key is None or image.delete_at is None or image.digest is None or image.size_bytes is None:
        raise ValueError("the image was to be stored, and its event says not where")
    address = address_for(image.key, caller.viewing_secret)
    return ImageRow(
        id=address.image_id,
        job_id=job_id,
        owner_kind=caller.owner.kind,
        owner_id=caller.owner.id,
        model=order.model,
        position=image.index,
        seed=image.seed,
        steps=order.steps,
        guidance=order.guidance,
        width_px=order.size.width_px,
        height_px=order.size.height_px,
        native_width_px=image.native_width_px,
        native_height_px=image.native_height_px,
        output_format=order.output_format,
        key=image.key,
        delete_at=image.delete_at,
        size_bytes=image.size_bytes,
        digest=image.digest,
        token_digest=digest(address_token(address, keyring)),
        created_at=int(now),
        erased_at=None,
        on_download=order.kept is not None and order.kept.on_download,
    )


def added(new: NewImage) -> Share[NewImage, list[str]]:
    """Answers keys of objects that are not to be kept: all when the job is over, by somebody else's word; the copy for
    training when a no came meanwhile."""
    return Share(_add_all, new)


def token_for(row: ImageRow, caller: Caller, keyring: Keyring) -> str:
    """Under which `/i/` shows the picture, made anew from its owner's secret."""
    return address_token(address_for(row.key, caller.secret_of(row)), keyring)


def _add_all(db: Session, images: Sequence[NewImage]) -> list[list[str]]:
    open_jobs = jobs.open_among(db, {image.row.job_id for image in images})
    return [_add(db, image, is_open=image.row.job_id in open_jobs) for image in images]


def _add(db: Session, image: NewImage, *, is_open: bool) -> list[str]:
    copy = image.copy
    if not is_open:
        return [image.row.key, copy.key] if copy else [image.row.key]
    if image.siblings and jobs.count_images(db, image.row.job_id) < image.siblings:
        image.row.seed = None
    db.add(image.row)
    return [copy.key] if copy and not add_consent(db, copy, image.word or Word()) else []
