"""`POST /v1/moderations` in OpenAI's shape: what the gate would say of a text. Nothing of it is kept."""

import secrets
from typing import Annotated

from litestar import Router, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from edge.domain.limits.gate import MODERATIONS
from edge.domain.moderation.adults import is_adult
from edge.domain.moderation.judge import blocks
from edge.domain.requests import MAX_PROMPT_CHARACTERS
from edge.guards.limits import CHARGES
from edge.guards.scopes import needs
from edge.routes.documented import api_errors
from edge.routes.given import GivenCaller, GivenServices
from edge.routes.strict_body import PICTURE_BODY_BYTES, StrictBody
from policies.moderation import ModerationPolicy

OPENAI_CATEGORIES: tuple[str, ...] = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)  # fmt: skip  the official client expects all of them
MOST_INPUTS = 32

Input = Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)]


class ModerationRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """OpenAI's. `model` is taken and ignored: there is one."""

    input: Input | Annotated[list[Input], Meta(min_length=1, max_length=MOST_INPUTS)]
    model: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Judged(Struct, frozen=True, kw_only=True):
    """Of one input. `flagged`: this caller would get no picture of it. Categories of OpenAI's that are not judged here
    are false."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]


class ModerationReply(Struct, frozen=True, kw_only=True):
    """`model` names the version of the rules."""

    id: str
    model: str
    results: list[Judged]


@post(
    "/moderations",
    dto=StrictBody[ModerationRequest],
    return_dto=None,
    request_max_body_size=PICTURE_BODY_BYTES,
    status_code=200,
    opt={CHARGES: MODERATIONS},
    responses=api_errors(413, 415),
)
async def moderate(data: JSONBody[ModerationRequest], caller: GivenCaller, services: GivenServices) -> ModerationReply:
    """Judge texts by the rules that every prompt is judged by before a picture is made of it."""
    policy, adult = services.policies.moderation, is_adult(services.policies, caller)
    texts = [data.input] if isinstance(data.input, str) else data.input
    scores = await services.moderation.judge.scores(texts)
    return ModerationReply(
        id=f"modr-{secrets.token_hex(12)}",
        model=f"sfumato-moderation-{policy.version}",
        results=[_judged(each, policy, is_adult=adult) for each in scores],
    )


def _judged(scores: dict[str, float], policy: ModerationPolicy, *, is_adult: bool) -> Judged:
    categories = dict.fromkeys(OPENAI_CATEGORIES, False)
    shown = dict.fromkeys(OPENAI_CATEGORIES, 0.0)
    flagged = False
    for name, category in policy.categories.items():
        is_of_it = scores[name] >= category.threshold
        categories[category.shown_as] = categories.get(category.shown_as, False) or is_of_it
        shown[category.shown_as] = max(shown.get(category.shown_as, 0.0), round(scores[name], 4))
        flagged |= is_of_it and blocks(category, is_adult=is_adult)
    return Judged(flagged=flagged, categories=categories, category_scores=shown)


moderation_routes = Router("/v1", route_handlers=[moderate], tags=["moderations"], opt=needs("generate"))
