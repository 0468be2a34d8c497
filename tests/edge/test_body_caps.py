"""How large a body may be is each route's own: pictures have long prompts, and nothing else does."""

from collections.abc import AsyncIterator

import pytest

from edge.app import MAX_BODY_BYTES
from edge.domain.requests import MAX_PROMPT_CHARACTERS
from edge.routes.strict_body import PICTURE_BODY_BYTES
from tests.edge.edges import Edge


@pytest.mark.parametrize("path", ["/v1/privacy/receipts/verify", "/v1/privacy/requests", "/your-data/erase"])
@pytest.mark.parametrize("is_told", [True, False])
async def test_a_body_beyond_its_routes_cap_is_refused(edge: Edge, path: str, is_told: bool) -> None:
    body = b'{"x": "' + b"y" * MAX_BODY_BYTES + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    kind = "application/x-www-form-urlencoded" if path.startswith("/your-data") else "application/json"
    headers = {"content-type": kind, "sec-fetch-site": "same-origin"}
    reply = await edge.client.post(path, content=body if is_told else chunks(), headers=headers)
    assert reply.status_code == 413


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/generations"])
async def test_the_longest_prompts_fit(edge: Edge, path: str) -> None:
    longest = "\U0001f34e" * MAX_PROMPT_CHARACTERS  # twelve characters of JSON for each
    reply = await edge.client.post(path, json={"prompt": longest, "negative_prompt": longest, "guidance": 2})
    assert reply.status_code in (200, 202)
    body = b'{"prompt": "' + b"y" * PICTURE_BODY_BYTES + b'"}'
    reply = await edge.client.post(path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 413
