"""What every policy file opens with, its public history, and the kinds of words and numbers that all of them use."""

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]


class Change(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of a file's public history."""

    version: Count
    date: date
    summary: Text


class Dated(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every policy file opens with."""

    version: Count
    effective: date
    changes: Annotated[list[Change], Meta(min_length=1)]
