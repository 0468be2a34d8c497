import json
from collections.abc import Mapping

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from edge.db.rows import JobRow, SessionRow
from edge.domain.requests import MAX_SEED
from edge.routes.strict_body import PICTURE_BODY_BYTES
from tests.edge.edges import Edge

GENERATE = "/v1/images/generations"
JSON = {"content-type": "application/json"}


def body(**fields: object) -> bytes:
    return json.dumps({"prompt": "a red apple", **fields}).encode()


WRONG = [
    (b'{"prompt": "a', None, "invalid_json"),
    (b"[]", None, "invalid_value"),
    (b"null", None, "invalid_value"),
    (b"{}", "prompt", "missing_parameter"),
    (b'{"prompt": "\xff"}', None, "invalid_json"),
    (body(prompt=5), "prompt", "invalid_value"),
    (body(prompt=""), "prompt", "invalid_value"),
    (body(prompt=" \n"), "prompt", "invalid_value"),
    (body(prompt="a" * 32_001), "prompt", "invalid_value"),
    (body(prompt="a" * 40_000), "prompt", "invalid_value"),
    (body(n=0), "n", "invalid_value"),
    (body(n=11), "n", "invalid_value"),
    (body(n="4"), "n", "invalid_value"),
    (body(n=True), "n", "invalid_value"),
    (body(n=1.5), "n", "invalid_value"),
    (body(model="dall-e-3"), "model", "model_not_found"),
    (body(model=7), "model", "invalid_value"),
    (body(size="1024x1024"), "size", "invalid_value"),
    (body(size="big"), "size", "invalid_value"),
    (body(quality="ultra"), "quality", "invalid_value"),
    (body(output_format="gif"), "output_format", "invalid_value"),
    (body(output_compression=50), "output_compression", "invalid_value"),
    (body(output_compression=101, output_format="webp"), "output_compression", "invalid_value"),
    (body(background="transparent"), "background", "not_available"),
    (body(background="pink"), "background", "invalid_value"),
    (body(moderation="low"), "moderation", "not_available"),
    (body(response_format="file"), "response_format", "invalid_value"),
    (body(stream="yes"), "stream", "invalid_value"),
    (body(stream=True, partial_images=4), "partial_images", "invalid_value"),
    (body(partial_images=1), "partial_images", "invalid_value"),
    (body(seed=-1), "seed", "invalid_value"),
    (body(seed=MAX_SEED, n=2), "seed", "invalid_value"),
    (body(seed=MAX_SEED + 1), "seed", "invalid_value"),
    (body(steps=0), "steps", "invalid_value"),
    (body(steps=51), "steps", "invalid_value"),
    (body(steps=12.5), "steps", "invalid_value"),
    (body(guidance=0.5), "guidance", "invalid_value"),
    (body(guidance=10.5), "guidance", "invalid_value"),
    (body(guidance=float("nan")), "guidance", "invalid_value"),
    (body(guidance=float("inf")), "guidance", "invalid_value"),
    (b'{"prompt": "a", "guidance": 1e999}', "guidance", "invalid_value"),
    (body(negative_prompt="blue", guidance=1.0), "negative_prompt", "invalid_value"),
    (body(retention="forever"), "retention", "retention"),
    (body(retention="P2D"), "retention", "retention"),
    (body(retention="PT59S"), "retention", "retention"),
    (body(retention="-PT5M"), "retention", "retention"),
    (body(retention="none", response_format="url"), "retention", "retention"),
    (body(training="allow"), "training", "not_available"),
    (body(safety_identifier="x"), "safety_identifier", "not_available"),
    (body(user="x"), "user", "not_available"),
    (body(style="vivid"), "style", "not_available"),
    (body(colour="red"), "colour", "unknown_parameter"),
]


async def rows(edge: Edge) -> int:
    def count(db: Session) -> int:
        return sum(db.scalar(select(func.count()).select_from(row)) or 0 for row in (JobRow, SessionRow))

    return await edge.services.database.read(count)


async def assert_nothing_happened(edge: Edge) -> None:
    assert edge.generator.requests == []
    assert await rows(edge) == 0
    assert not (edge.home / "objects" / "img").exists()


@pytest.mark.parametrize(("content", "param", "code"), WRONG, ids=[str(row[1:]) for row in WRONG])
async def test_a_mistake_is_named_and_nothing_starts(edge: Edge, content: bytes, param: str | None, code: str) -> None:
    reply = await edge.client.post(GENERATE, content=content, headers=JSON)
    error: Mapping[str, object] = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    await assert_nothing_happened(edge)


JOB_WRONG = [
    (body(partial_images=13), "partial_images", "invalid_value"),
    (body(retention="none"), "retention", "retention"),
    (body(stream=True), "stream", "unknown_parameter"),
    (body(cancel_when_unwatched=1), "cancel_when_unwatched", "invalid_value"),
]


@pytest.mark.parametrize(("content", "param", "code"), JOB_WRONG)
async def test_a_job_s_mistake_is_named_too(edge: Edge, content: bytes, param: str, code: str) -> None:
    reply = await edge.client.post("/v1/generations", content=content, headers=JSON)
    assert reply.status_code == 400
    assert (reply.json()["error"]["param"], reply.json()["error"]["code"]) == (param, code)
    await assert_nothing_happened(edge)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_only_json_is_taken(edge: Edge, kind: str) -> None:
    reply = await edge.client.post(GENERATE, content=body(), headers={"content-type": kind})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")
    await assert_nothing_happened(edge)


async def test_an_empty_body_is_a_mistake(edge: Edge) -> None:
    reply = await edge.client.post(GENERATE, headers=JSON)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_over_the_limit_is_refused(edge: Edge) -> None:
    reply = await edge.client.post(GENERATE, content=b" " * (PICTURE_BODY_BYTES + 1), headers=JSON)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
    await assert_nothing_happened(edge)


async def test_deeply_nested_json_is_just_wrong(edge: Edge) -> None:
    reply = await edge.client.post(GENERATE, content=b'{"prompt":' + b"[" * 200_000, headers=JSON)
    assert reply.status_code == 400


async def test_null_means_the_default(edge: Edge) -> None:
    optional = ["model", "n", "size", "quality", "seed", "steps", "guidance", "retention", "stream", "response_format"]
    reply = await edge.client.post(GENERATE, content=body(**dict.fromkeys(optional)), headers=JSON)
    assert reply.status_code == 200


@pytest.mark.parametrize("limit", ["0", "101", "x"])
async def test_a_wrong_query_parameter_is_named(edge: Edge, limit: str) -> None:
    reply = await edge.client.get("/v1/generations", params={"limit": limit})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limit")
