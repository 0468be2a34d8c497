"""What happens to a row after a step: previews on the way, and decode, check, encode, seal and store at the end.

No pixel leaves unchecked: a preview that may not be seen is not sent, and an image that may not ends its request. All
of it runs beside the next steps, the highest class first: decoding in one thread, checking and encoding in a few,
storing in the caller's event loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from time import time

from serve_app.contract import Blocked, GenerateRequest, Image, Preview
from serve_app.encode import encode
from serve_app.errors import EngineFailed, ModerationUnavailable, ServeError
from serve_app.pipelines.pipeline import AnyPipeline, NotFinite, Picture
from serve_app.ranked_pool import RankedPool
from serve_app.safety import PictureBlocked, Safety
from serve_app.storage.store import ObjectStore, put_image
from serve_app.training import StoredCopy, put_copy
from serve_app.work import Work

log = logging.getLogger(__name__)

ENCODE_THREADS = 2
COPY_S = 5.0  # nobody waits longer for a copy that is not theirs; one that arrives later has no row, and is swept


class Delivery:
    """`mark` is the model's XMP packet, written into every file."""

    def __init__(self, pipeline: AnyPipeline, store: ObjectStore, mark: bytes, safety: Safety) -> None:
        self._pipeline = pipeline
        self._store = store
        self._mark = mark
        self._safety = safety
        self._decoder = RankedPool(1, "decode")
        self._encoders = RankedPool(ENCODE_THREADS, "encode")

    async def previews(self, due: Sequence[tuple[Work, int, int]]) -> None:
        """`due`: work, image index, number. Sends what the rows look like now; work that is over gets none.

        All are under way before anything is awaited, so that an image that is handed over later can wait for its own.
        """
        rows = [work.rows[index] for work, index, _ in due]
        drawn = asyncio.wrap_future(self._decoder.submit(_rank(due), partial(self._pipeline.preview, rows)))
        for place, (work, index, number) in enumerate(due):
            before = work.last_preview.get(index)
            work.last_preview[index] = asyncio.create_task(self._preview(work, index, number, drawn, place, before))
        await asyncio.gather(*(work.last_preview[index] for work, index, _ in due))

    async def images(self, finished: Sequence[tuple[Work, int]]) -> None:
        """`finished`: work and image index of rows that made their last step. Every work hears how it ended."""
        finished = [(work, index) for work, index in finished if not work.is_over]
        if not finished:
            return
        rows = [work.rows[index] for work, index in finished]
        try:
            decoded = self._decoder.submit(_rank(finished), partial(self._pipeline.decode, rows))
            pictures = await asyncio.wrap_future(decoded)
        except Exception as error:  # noqa: BLE001  a decoder may raise anything; the callers must hear of it
            log.error("decode failed: %s", type(error).__name__)
            await self._images_alone(finished, error)
            return
        for work, index in finished:
            del work.rows[index]
        pairs = zip(finished, pictures, strict=True)
        await asyncio.gather(*(self._finish(work, index, picture) for (work, index), picture in pairs))

    def close(self) -> None:
        self._decoder.shutdown()
        self._encoders.shutdown()

    async def _images_alone(self, finished: Sequence[tuple[Work, int]], error: Exception) -> None:
        """After a decode failed: each picture alone, so that only the request to blame fails."""
        if len(finished) == 1:
            why = "the model's numbers are no picture" if isinstance(error, NotFinite) else "decoding failed"
            finished[0][0].fail(EngineFailed(why))
            return
        for one in finished:
            await self.images([one])

    async def _preview(
        self,
        work: Work,
        index: int,
        number: int,
        drawn: Awaitable[list[Picture]],
        place: int,
        before: asyncio.Task[None] | None,
    ) -> None:
        """Sends the picture at `place` among those `drawn`, after the image's preview before."""
        picture = (await drawn)[place]
        if work.is_over:
            return
        try:
            data = await self._file(work.request, picture)
        except (PictureBlocked, ModerationUnavailable):
            return  # what is still noise may look like anything: the finished image decides
        if before is not None:
            await asyncio.wait([before])
        if not work.is_over:
            work.outbox.post(Preview(index, number, data))

    async def _finish(self, work: Work, index: int, picture: Picture) -> None:
        try:
            image = await self._image(work, index, picture)
        except PictureBlocked as blocked:
            _block(work, blocked.category)
        except ServeError as error:
            work.fail(error)
        except Exception as error:  # noqa: BLE001  an encoder may raise anything; the caller must hear of it
            log.error("delivery failed: %s", type(error).__name__)
            work.fail(EngineFailed("encoding failed"))
        else:
            if (preview := work.last_preview.pop(index, None)) is not None:
                await asyncio.wait([preview])  # none may come after its image
            if image is not None:
                work.image_made(image)

    async def _image(self, work: Work, index: int, picture: Picture) -> Image | None:
        """None where the work has ended meanwhile: nobody would learn of what is stored then, nor delete it.

        Raises StoreUnavailable, retries included: then nothing of the image is left. Raises PictureBlocked,
        ModerationUnavailable: then nothing was stored.
        """
        request = work.request
        data = await self._file(request, picture)
        if work.is_over:
            return None
        native_height_px, native_width_px = picture.shape[:2]
        stored = await put_image(self._store, request.store, index, data, time()) if request.store else None
        copy = await self._copy(work, index, data)
        return Image(
            index=index,
            seed=request.seed + index,
            native_width_px=native_width_px,
            native_height_px=native_height_px,
            key=stored and stored.key,
            delete_at=stored and stored.delete_at,
            size_bytes=stored and stored.size_bytes,
            digest=stored and stored.digest,
            data=data if request.inline else None,
            training_key=copy and copy.key,
            training_delete_at=copy and copy.delete_at,
            truncated=work.is_truncated,
        )

    async def _copy(self, work: Work, index: int, data: bytes) -> StoredCopy | None:
        """For training, where it was ordered. One that cannot be stored is left out: the picture is what was asked."""
        request = work.request
        if request.training is None or request.store is None or work.is_over:
            return None
        image_id = request.store.slots[index].image_id
        try:
            async with asyncio.timeout(COPY_S):
                return await put_copy(self._store, request.training, request, image_id, data, time())
        except (ServeError, TimeoutError, ValueError) as error:
            log.warning("image %s has no copy for training: %s", image_id, type(error).__name__)
            return None

    async def _file(self, request: GenerateRequest, picture: Picture) -> bytes:
        """The picture as the file that was asked for, resampled where the model draws another size. Raises
        PictureBlocked, ModerationUnavailable."""
        make = partial(self._checked_file, request, picture)
        return await asyncio.wrap_future(self._encoders.submit(request.turn.weight, make))

    def _checked_file(self, request: GenerateRequest, picture: Picture) -> bytes:
        self._safety.check(picture, adult=request.adult)
        return encode(
            picture,
            width_px=request.width_px,
            height_px=request.height_px,
            output_format=request.output_format,
            compression=request.output_compression,
            mark=self._mark,
        )


def _rank(parts: Sequence[tuple[Work, *tuple[int, ...]]]) -> float:
    """Of what is decoded together: that of its highest class."""
    return max(work.request.turn.weight for work, *_ in parts)


def _block(work: Work, category: str) -> None:
    """As `Work.fail` does: only the first end is told, and nothing more is drawn, stored or told."""
    if not work.is_over:
        work.is_over = True
        work.outbox.post(Blocked(category))
