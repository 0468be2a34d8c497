"""All that is held of an owner as a zip that leaves while it is made, with one picture in memory at a time.

Each picture comes with the secret that opens it. One that goes meanwhile is left out and named in the README, which
comes last for that reason.
"""

import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from stream_zip import NO_COMPRESSION_64, ZIP_64, AsyncMemberFile, async_stream_zip

from edge.db.rows import ImageRow
from edge.domain.rights import Readable
from policies.publish import Published
from serve_app.errors import StoreUnavailable
from serve_app.storage.sealing import SealBroken, image_secret, unseal
from serve_app.storage.store import ObjectGone, ObjectStore

MODE = 0o600
"""Of the files inside: the owner's alone."""


class ExportedData(msgspec.Struct, frozen=True, kw_only=True):
    """`data.json`: every row by table, and the policy that they are kept under."""

    made_at: str
    owner_kind: str
    owner_id: str
    rows: Mapping[str, Sequence[Mapping[str, Readable]]]
    policy: Published


@dataclass
class Export:
    """One export. `images` come with their viewing secrets; `left_out` fills up while it is streamed."""

    data: ExportedData
    images: Sequence[tuple[ImageRow, bytes]]
    store: ObjectStore
    now: float
    left_out: list[str] = field(default_factory=list[str])

    def __repr__(self) -> str:
        return f"<export of {len(self.images)} images>"

    def stream(self) -> AsyncIterable[bytes]:
        return async_stream_zip(self._members(), get_compressobj=lambda: zlib.compressobj(6, wbits=-zlib.MAX_WBITS))

    async def _members(self) -> AsyncGenerator[AsyncMemberFile]:
        made_at = datetime.fromtimestamp(self.now, UTC)
        text = msgspec.json.format(msgspec.json.encode(self.data), indent=2)
        yield "data.json", made_at, MODE, ZIP_64, _whole(text)
        for image, secret in self.images:
            if (picture := await self._open(image, secret)) is not None:
                name = f"pictures/{image.id}.{image.output_format}"
                drawn_at = datetime.fromtimestamp(image.created_at, UTC)
                yield name, drawn_at, MODE, NO_COMPRESSION_64(len(picture), zlib.crc32(picture)), _whole(picture)
        yield "README.txt", made_at, MODE, ZIP_64, _whole(self._readme().encode())

    async def _open(self, image: ImageRow, secret: bytes) -> bytes | None:
        try:
            sealed = await self.store.get(image.key)
            return unseal(image_secret(secret, image.id), image.key, sealed)
        except ObjectGone:
            self.left_out.append(f"{image.id}: it went while this export was made")
        except StoreUnavailable:
            self.left_out.append(f"{image.id}: the object store did not answer; ask again")
        except SealBroken:
            self.left_out.append(f"{image.id}: its stored bytes do not open any more")
        return None

    def _readme(self) -> str:
        held = {table: len(rows) for table, rows in self.data.rows.items()}
        lines = [
            "All that is held about you here, as of " + self.data.made_at,
            "",
            "data.json   every record, and the policy it is kept under",
            "pictures/   your pictures that can still be seen, by their ids",
            "",
            f"Prompts: {held.get('prompt', 0)} records are kept for moderation. The words are not in here: the server",
            "can write them and cannot read them. Each is encrypted to the key of its day, which only a person of the",
            "operator's can use, and every use is written down. data.json says when each is deleted.",
            "",
            f"Copies for training: {held.get('consent', 0)}. They are not in here: each is sealed to a key of the",
            "operator's. data.json names each by its picture's id; DELETE /v1/images/{id} takes it back, as does",
            "/your-data, also when the picture has gone.",
            "",
            self.data.policy.undisclosed,
        ]
        if self.left_out:
            lines += ["", "Left out:", *(f"  {each}" for each in self.left_out)]
        return "\n".join([*lines, ""])


async def _whole(data: bytes) -> AsyncGenerator[bytes]:
    yield data
