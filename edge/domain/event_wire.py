"""How the events of a job travel between edges: the names in the shared store, and what lies under them.

States lie in a stream of the job, under their own numbers, so that every edge counts alike. Steps, previews and
cancels are published only: whoever does not listen at that moment never gets them.
"""

from collections.abc import Sequence

import msgspec

from edge.domain.events import Told
from edge.domain.owner import JobId

STREAM = "job_events"  # its place in `retention.toml`
CANCEL = "sfumato:cancel"
FIELD = b"told"

_STREAM = f"sfumato:{STREAM}:"
_CHANNEL = "sfumato:job:"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Told])


def stream_of(job_id: JobId) -> str:
    return f"{_STREAM}{job_id}"


def channel_of(job_id: JobId) -> str:
    return f"{_CHANNEL}{job_id}"


def job_of(channel: bytes) -> JobId:
    return JobId(channel.decode().removeprefix(_CHANNEL))


def encode(told: Sequence[Told]) -> bytes:
    return _encoder.encode(told)


def decode(body: bytes) -> list[Told]:
    """Nothing where an edge of another version says what this one does not know."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return []
