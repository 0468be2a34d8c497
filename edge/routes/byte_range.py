"""One byte range of a `Range` header (RFC 9110, section 14). Anything else is ignored, as the standard allows."""

import re

_ONE_RANGE = re.compile(r"^bytes=(\d{1,15})?-(\d{1,15})?$")


def requested_range(header: str | None, size_bytes: int) -> range | None:
    """The bytes to send, or None for all of them."""
    match = _ONE_RANGE.match(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if first is None:
        part = range(max(0, size_bytes - int(last)), size_bytes)
    else:
        part = range(int(first), min(size_bytes, int(last) + 1) if last else size_bytes)
    return part if part else None
