"""From an engine's image to a row, and from a row to its address for the one who may have it."""

from sqlalchemy.orm import Session

from edge.db.rows import ConsentRow, ImageRow
from edge.domain import jobs
from edge.domain.addresses import address_for, address_token, digest
from edge.domain.keyring import Keyring
from edge.domain.orders import Order
from edge.domain.owner import Caller, JobId
from edge.domain.training import add_consent
from serve_app.contract import Image


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


def add_image(db: Session, row: ImageRow, copy: ConsentRow | None, accepted_at: int) -> list[str]:
    """Keys of objects that are not to be kept: all when the job is over, by somebody else's word; the copy for training
    when a no came meanwhile."""
    if not jobs.is_open(db, row.job_id):
        return [row.key, copy.key] if copy else [row.key]
    db.add(row)
    return [copy.key] if copy and not add_consent(db, copy, accepted_at) else []


def token_for(row: ImageRow, viewing_secret: bytes, keyring: Keyring) -> str:
    """Under which `/i/` shows the picture, made anew from the owner's own secret."""
    return address_token(address_for(row.key, viewing_secret), keyring)
