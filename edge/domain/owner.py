"""Whose something is. Every row belongs to an owner; today owners are anonymous sessions, later accounts too."""

from typing import Literal, NewType

from msgspec import Struct
from sqlalchemy import ColumnElement, and_

from edge.db.rows import OwnedRow
from policies.schema import Plan

JobId = NewType("JobId", str)
ImageId = NewType("ImageId", str)
OwnerId = NewType("OwnerId", str)


class Owner(Struct, frozen=True):
    kind: Literal["session", "account"]
    id: OwnerId


class Caller(Struct, frozen=True):
    """Who is asking, what opens their pictures, and what they may ask for. `is_new`: made for this very call.

    `gpc`: their browser says no to other uses, by `Sec-GPC: 1`.
    """

    owner: Owner
    viewing_secret: bytes
    plan: Plan
    is_new: bool = False
    gpc: bool = False

    def __repr__(self) -> str:
        return f"<caller:{self.owner.kind}>"


def owned(row: type[OwnedRow], owner: Owner) -> ColumnElement[bool]:
    return and_(row.owner_kind == owner.kind, row.owner_id == owner.id)
