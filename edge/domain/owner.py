"""Whose something is, and who is asking. Every row belongs to an owner: an anonymous session, or an account."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NewType

from msgspec import Struct
from sqlalchemy import ColumnElement, and_

from edge.db.rows import ImageRow, OwnedRow
from edge.errors import NotReady
from policies.schema import Plan

JobId = NewType("JobId", str)
ImageId = NewType("ImageId", str)
OwnerId = NewType("OwnerId", str)
KeyScope = Literal["generate", "read", "privacy", "keys"]
Scope = Literal[KeyScope, "account"]  # ways in and out of an account: a browser's alone, never a key's

SESSION_SCOPES: frozenset[Scope] = frozenset(("generate", "read", "privacy", "account"))  # it has no keys to manage
BROWSER_SCOPES: frozenset[Scope] = SESSION_SCOPES.union(("keys",))


class Owner(Struct, frozen=True):
    kind: Literal["session", "account"]
    id: OwnerId


class Caller(Struct, frozen=True):
    """Who is asking, what opens their pictures, and what they may ask for. `is_new`: made for this very call.

    `gpc`: their browser says no to other uses, by `Sec-GPC: 1`. `other_secrets`: those of an account besides its own,
    by id.
    """

    owner: Owner
    viewing_secret: bytes
    plan: Plan
    is_new: bool = False
    gpc: bool = False
    scopes: frozenset[Scope] = SESSION_SCOPES
    other_secrets: Mapping[str, bytes] = MappingProxyType({})

    def secret_of(self, image: ImageRow) -> bytes:
        """The one that this picture of theirs was made under.

        Raises NotReady where the picture was brought along a moment ago: what is remembered of an account is renewed
        within a second.
        """
        if image.viewing_secret_id is None:
            return self.viewing_secret
        if image.viewing_secret_id not in self.other_secrets:
            raise NotReady("this account has got more pictures a moment ago: ask again")
        return self.other_secrets[image.viewing_secret_id]

    def __repr__(self) -> str:
        return f"<caller:{self.owner.kind}>"


def owned(row: type[OwnedRow], owner: Owner) -> ColumnElement[bool]:
    return and_(row.owner_kind == owner.kind, row.owner_id == owner.id)
