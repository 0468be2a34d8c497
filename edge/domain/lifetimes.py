"""An image's time can only become shorter: by its owner's word, or by the first whole download.

A shorter time is set in the row, which the deleter and `/i/` obey; key and address stay.
"""

from msgspec import Struct
from sqlalchemy import update
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow
from edge.domain.orders import read_duration
from edge.errors import BadInput

AFTER_DOWNLOAD_S = 60


class Shorter(Struct, frozen=True):
    """When it goes at the latest; `on_download`: the first whole download makes that a minute later."""

    delete_at: int
    on_download: bool


def shorter(image: ImageRow, retention: str) -> Shorter:
    """From storing on, as `retention` in a request. Raises BadInput for what is none, or is longer."""
    if retention == "on_download":
        return Shorter(image.delete_at, on_download=True)
    kept_for_s = read_duration(retention).total_seconds()
    delete_at = image.created_at + int(kept_for_s)
    if kept_for_s < 0 or delete_at > image.delete_at:
        raise BadInput("a picture's time can only become shorter", param="retention", code="retention")
    return Shorter(delete_at, image.on_download)


def shorten(db: Session, image_id: str, to: Shorter) -> None:
    """Never longer, whoever else shortened it meanwhile."""
    mine = update(ImageRow).where(ImageRow.id == image_id).execution_options(synchronize_session=False)
    db.execute(mine.where(ImageRow.delete_at > to.delete_at).values(delete_at=to.delete_at))
    if to.on_download:
        db.execute(mine.values(on_download=True))


def note_download(db: Session, image_id: str, now: float) -> None:
    """It was downloaded whole. The first time decides: a later one would be later, and nothing becomes longer."""
    goes_at = int(now + AFTER_DOWNLOAD_S)
    db.execute(
        update(ImageRow)
        .where(ImageRow.id == image_id, ImageRow.on_download, ImageRow.delete_at > goes_at)
        .values(delete_at=goes_at)
        .execution_options(synchronize_session=False)
    )
