"""The engine behind HTTP: `contract.Generator` over Ray Serve.

A stream that breaks before its end is asked for once more: seeds make the second run the same as the first. Images
that already arrived are not passed on twice; what the first run stored besides, whoever hears `retried` removes. What
fails for good becomes a Failed event, never an exception.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2
import msgspec

from serve_app.contract import (
    End,
    Event,
    Failed,
    FrameError,
    GenerateRequest,
    Image,
    ModelStatus,
    Succeeded,
    encode_request,
    read_frames,
)
from serve_app.errors import ModelUnavailable, ReplicaLost

log = logging.getLogger(__name__)

CONNECT_S = 5.0
SILENCE_S = 120.0  # whoever waits hears something every half minute while anything steps
RETRY_AFTER_S = 5.0


class RayServeGateway:
    """`base_url` is Ray Serve's HTTP address; `secret` the bearer that its replicas expect."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {secret}"},
            timeout=httpx2.Timeout(SILENCE_S, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        arrived: set[int] = set()
        for is_last_attempt in (False, True):
            try:
                async with aclosing(self._stream(request)) as events:
                    async for event in events:
                        if isinstance(event, Image):
                            if event.index in arrived:
                                continue
                            arrived.add(event.index)
                        if isinstance(event, Succeeded):
                            event = msgspec.structs.replace(event, retried=is_last_attempt)
                        yield event
                        if isinstance(event, End):
                            return
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                yield Failed(ModelUnavailable.code, "the model is not being served right now", RETRY_AFTER_S)
                return
            except (httpx2.HTTPError, FrameError, ReplicaLost) as error:
                log.warning("stream of job %s broke: %s", request.job_id, type(error).__name__)
                if is_last_attempt:
                    yield Failed(ReplicaLost.code, "the connection to the model was lost", RETRY_AFTER_S)

    async def status(self, model: str) -> ModelStatus:
        """Raises ModelUnavailable."""
        try:
            reply = await self._client.get(f"/m/{model}/status", timeout=CONNECT_S)
            reply.raise_for_status()
            return msgspec.json.decode(reply.content, type=ModelStatus)
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise ModelUnavailable("the model is not being served right now", retry_after_s=RETRY_AFTER_S) from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _stream(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        path = f"/m/{request.model}/generate"
        async with self._client.stream("POST", path, content=encode_request(request)) as reply:
            if not reply.headers.get("content-type", "").startswith("application/vnd.sfumato.frames"):
                yield Failed(ModelUnavailable.code, "the model is not being served right now", RETRY_AFTER_S)
                return
            async for event in read_frames(reply.aiter_raw()):
                yield event
        raise ReplicaLost("the stream ended before the request did")
