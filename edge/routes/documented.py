"""The statuses that OpenAPI must know of, so that no client meets one that is not written down."""

from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec

from edge.guards.refusals import ErrorReply, Problem

Documented = dict[int, ResponseSpec]

_MEANINGS = {
    400: "A parameter is wrong; `param` names it.",
    401: "The key or session is unknown, was ended, or has expired.",
    403: "The request came from another site; or the key lacks the scope that the message names; or very many ask for "
    "pictures and this caller has no key: `challenge` is ALTCHA's (version 2), and base64 of the JSON object "
    "`{challenge, solution}` goes into the header `Sfumato-Proof`.",
    404: "Unknown, or somebody else's.",
    408: "The body of the request did not come whole in time.",
    409: "It was cancelled meanwhile, by `DELETE /v1/generations/{id}`.",
    410: "It was here and is gone.",
    413: "The request is too large.",
    421: "Asked under a host name that is not ours.",
    429: "Too much in too short a time: try again after `Retry-After` seconds.",
    415: "The body is not `application/json`.",
    500: "Our fault.",
    503: "Try again after `Retry-After` seconds.",
}
_ALWAYS = (400, 403, 421, 429, 500, 503)
WHILE_IT_WAITS = (
    "While it waits, `X-Sfumato-Queue-Position` and `X-Sfumato-Queue-Eta` say where, and for how many seconds."
)
QUEUE_HEADERS = [
    ResponseHeader(name=name, description=f"While it waits: {meaning}", documentation_only=True)
    for name, meaning in {
        "X-Sfumato-Queue-Position": "how many of its class are ahead and have not begun.",
        "X-Sfumato-Queue-Eta": "seconds until its last picture, as learned from the steps made so far.",
    }.items()
]


def api_errors(*statuses: int) -> Documented:
    """OpenAI's shape, for `/v1`."""
    return _specs(ErrorReply, "application/json", (*statuses, 401, *_ALWAYS))


def problems(*statuses: int) -> Documented:
    """Problem details, for everything else."""
    return _specs(Problem, "application/problem+json", (*statuses, *_ALWAYS))


def _specs(body: type, media_type: str, statuses: tuple[int, ...]) -> Documented:
    if 413 in statuses:
        statuses = (*statuses, 408)  # what may be too large may be too slow
    return {
        status: ResponseSpec(
            body,
            description=_MEANINGS[status],
            media_type=media_type,
            generate_examples=False,  # pyright: ignore[reportArgumentType]
        )
        for status in sorted(statuses)
    }
