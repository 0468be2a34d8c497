"""What every deletion answers: the receipt, and what it says in readable form."""

from typing import Literal

from msgspec import Struct

from edge.domain.deletions import Deletion
from edge.domain.receipts import Claims


class Deleted(Struct, frozen=True, kw_only=True):
    """`receipt` is a compact JWS; `claims` is what it says. Keep the former: it can be checked by anybody."""

    object: Literal["deletion"] = "deletion"
    receipt: str
    claims: Claims


def deleted(deletion: Deletion) -> Deleted:
    return Deleted(receipt=deletion.receipt, claims=deletion.claims)
