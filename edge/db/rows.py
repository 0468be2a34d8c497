"""The tables. No prompt is in any of them; seed and settings are in the image row alone and go with it.

Ids are 32 hex digits. Times end in `_at` and are Unix seconds. Addresses are never stored: an image row holds a digest.
"""

from datetime import date

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

Base = DefaultBase
Id = String(32)


class SessionRow(Base):
    """An anonymous session that something was made for."""

    __tablename__ = "session"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    last_used_on: Mapped[date] = mapped_column(index=True)


class JobRow(Base):
    """The bare state of a generation. `images_asked` is how many; the rest of what was asked is not here."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_owner", "owner_kind", "owner_id", "created_at"),
        Index("ix_job_lease", "status", "lease_until_at"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_kind: Mapped[str] = mapped_column(String(8))
    owner_id: Mapped[str] = mapped_column(Id)
    model: Mapped[str] = mapped_column(String(64))
    images_asked: Mapped[int]
    status: Mapped[str] = mapped_column(String(12))
    epoch: Mapped[int] = mapped_column(default=1)
    lease_until_at: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    error_code: Mapped[str | None] = mapped_column(String(40), default=None)
    truncated: Mapped[bool] = mapped_column(default=False)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class ImageRow(Base):
    """A stored image: where it lies, when it goes and how it was made. `erased_at` is set before its object goes."""

    __tablename__ = "image"
    __table_args__ = (Index("ix_image_owner", "owner_kind", "owner_id", "created_at"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, index=True)
    owner_kind: Mapped[str] = mapped_column(String(8))
    owner_id: Mapped[str] = mapped_column(Id)
    model: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    steps: Mapped[int]
    guidance: Mapped[float]
    width_px: Mapped[int]
    height_px: Mapped[int]
    native_width_px: Mapped[int]
    native_height_px: Mapped[int]
    output_format: Mapped[str] = mapped_column(String(8))
    key: Mapped[str] = mapped_column(String(128))
    delete_at: Mapped[int] = mapped_column(BigInteger, index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[int] = mapped_column(BigInteger)
    erased_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)
