"""An object's key says when it goes: `img/<class>d/<minute>/<image id>`.

The deleter empties minutes that have passed and the lifecycle rules work by class, both without a database.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MINUTE_FORMAT = "%Y%m%dT%H%MZ"
_KEY = re.compile(r"(?P<prefix>[a-z]+)/(?P<days>[1-9][0-9]*)d/(?P<minute>[0-9]{8}T[0-9]{4}Z)/(?P<id>[0-9a-f]{32})")


class ImageKey(NamedTuple):
    """A key taken apart. `delete_at` is an aware UTC minute; `image_id` 32 hex digits."""

    prefix: str
    class_days: int
    delete_at: datetime
    image_id: str

    def __str__(self) -> str:
        return f"{self.prefix}/{self.class_days}d/{minute_name(self.delete_at)}/{self.image_id}"


def parse_key(text: str) -> ImageKey:
    """Raises ValueError for a key of another shape."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise ValueError("not the key of an image")
    return ImageKey(match["prefix"], int(match["days"]), parse_minute(match["minute"]), match["id"])


def delete_minute(stored_at_s: float, kept_for_s: float) -> datetime:
    """The minute, rounded up, at which an object stored at `stored_at_s` (Unix seconds) goes."""
    due = datetime.fromtimestamp(stored_at_s, UTC) + timedelta(seconds=kept_for_s)
    whole = due.replace(second=0, microsecond=0)
    return whole if whole == due else whole + timedelta(minutes=1)


def minute_name(minute: datetime) -> str:
    """Sorts like time: `20261124T0531Z`."""
    return minute.astimezone(UTC).strftime(MINUTE_FORMAT)


def parse_minute(name: str) -> datetime:
    """Raises ValueError."""
    return datetime.strptime(name, MINUTE_FORMAT).replace(tzinfo=UTC)
