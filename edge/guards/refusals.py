"""Errors become replies here and nowhere else: OpenAI's shape under `/v1`, problem details (RFC 9457) elsewhere,
and a page for a person in a browser."""

import logging
import math
import traceback
from collections.abc import Mapping
from http import HTTPStatus

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Template
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from edge.errors import (
    BadInput,
    BodyTooLarge,
    GenerationFailed,
    MethodNotAllowed,
    ModerationBlocked,
    NotFound,
    ProofRequired,
    Refusal,
    status_of,
)
from edge.guards.envelope import REQUEST_ID
from edge.guards.trouble_page import trouble_page, wants_page
from serve_app.errors import ServeError

log = logging.getLogger(__name__)

AnyRequest = Request[None, None, State]


class ErrorBody(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str
    challenge: Mapping[str, object] | UnsetType = UNSET
    stage: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET


class ErrorReply(Struct, frozen=True):
    """OpenAI's error shape. `challenge` comes with `proof_of_work_required` alone; `stage` (prompt or image),
    `category` and `reference` with `moderation_blocked`."""

    error: ErrorBody


class Problem(Struct, frozen=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def reply_to_error(request: AnyRequest, error: Exception) -> Response[ErrorReply] | Response[Problem] | Template:
    refusal = _refusal(request, error)
    status = status_of(refusal)
    headers = _headers(refusal, error)
    if request.scope["path"].startswith("/v1/"):
        return Response(error_reply(refusal), status_code=status, headers=headers, media_type="application/json")
    if wants_page(request):
        return trouble_page(refusal, request, headers)
    problem = Problem("about:blank", HTTPStatus(status).phrase, status, refusal.message, refusal.code)
    return Response(problem, status_code=status, headers=headers, media_type="application/problem+json")


def error_reply(refusal: Refusal) -> ErrorReply:
    match status_of(refusal):
        case 429:
            kind = "rate_limit_error"
        case status:
            kind = "server_error" if status >= 500 else "invalid_request_error"
    body = ErrorBody(refusal.message, kind, refusal.param, refusal.code)
    match refusal:
        case ProofRequired(challenge=challenge):
            body = replace(body, challenge=challenge)
        case ModerationBlocked(stage=stage, category=category, reference=reference):
            body = replace(body, stage=stage, category=category, reference=reference)
        case _:
            pass
    return ErrorReply(body)


def _refusal(request: AnyRequest, error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case ServeError():
            return GenerationFailed(error.code, retry_after_s=error.retry_after_s)
        case ValidationException():
            return BadInput("a parameter is missing or of the wrong kind", param=_first_key(error))
        case HTTPException(status_code=404):
            return NotFound("there is nothing here")
        case HTTPException(status_code=405):
            return MethodNotAllowed("this address does not take that method")
        case HTTPException(status_code=413):
            return BodyTooLarge("the request is too large")
        case HTTPException(status_code=code) if code < 500:
            return BadInput("the request makes no sense")
        case _:
            _log_bug(request, error)
            return Refusal("Something went wrong on our side.")


def _headers(refusal: Refusal, error: Exception) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.status_code == 405 and error.headers:
        headers |= {name: value for name, value in error.headers.items() if name.lower() == "allow"}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if status_of(refusal) == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _first_key(error: ValidationException) -> str | None:
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else None
    key = first.get("key") if isinstance(first, dict) else None
    return key if isinstance(key, str) and key != "data" else None


def _log_bug(request: AnyRequest, error: Exception) -> None:
    """Where it happened and what kind it is. An exception's text may quote what a caller sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    request_id = request.scope["state"].get(REQUEST_ID)
    log.error("%s %s at %s:%s", request_id, type(error).__name__, frame.filename, frame.lineno)
