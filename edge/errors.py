"""What can go wrong at the edge, each with a stable code; `edge.guards.refusals` alone turns them into replies.

EdgeError
├── SettingsError                             an environment variable is missing or makes no sense; nothing starts
└── Refusal                                   what a caller gets to see, with its status
    ├── BadInput              400             invalid_json · missing_parameter · unknown_parameter · invalid_value
    │                                         model_not_found · not_available · retention · sign_in_failed
    │                                         unknown_passkey
    ├── ModerationBlocked     400             moderation_blocked: by stage and category, with a reference
    ├── BadCredential         401             invalid_api_key
    ├── CrossSite             403             cross_site
    ├── ProofRequired         403             proof_of_work_required: with a challenge, while very many ask
    ├── InsufficientScope     403             insufficient_scope: the key is good, and not for this
    ├── NotFound              404             not_found: unknown, or somebody else's: the answer is the same
    │   └── AccountGone       404             not_found: it was deleted, and nothing is added to it any more
    ├── MethodNotAllowed      405             method_not_allowed
    ├── BodyTooSlow           408             body_too_slow: it did not come whole in time
    ├── Cancelled             409             cancelled: the caller took it back
    ├── Gone                  410             gone: it was here and was deleted, by its time or by its owner
    ├── BodyTooLarge          413             body_too_large
    ├── UnsupportedMediaType  415             unsupported_media_type
    ├── WrongHost             421             wrong_host: asked under a name that is not ours
    ├── RateLimited           429             rate_limit_exceeded: which limit, and when there is room again
    ├── GenerationFailed      500, 503        the codes of `serve_app.errors`, and edge_lost
    ├── NotReady              503             not_ready: a probe's answer
    ├── ModerationUnavailable 503             moderation_unavailable: what cannot be judged is not made
    ├── NoDayKey              503             prompt_key_missing: what is kept cannot be sealed, so nothing is done
    └── DatabaseUnavailable   503             database_unavailable
"""

from collections.abc import Mapping
from typing import ClassVar

RETRY_AFTER_S = 5

MESSAGES = {
    "bad_request": "The model cannot do what was asked of it.",
    "cancelled": "The generation was cancelled.",
    "database_unavailable": "The database does not answer.",
    "draining": "This server is being taken out of service.",
    "edge_lost": "The server that looked after this generation went away.",
    "engine_failed": "The model failed while drawing.",
    "model_unavailable": "Nothing serves this model now.",
    "moderation_blocked": "This is not made here. To object, give the reference.",
    "moderation_unavailable": "What was asked for cannot be checked now, so it is not made.",
    "overloaded": "Too much is waiting already.",
    "policy_mismatch": "Parts of the service disagree about the policies in force.",
    "prompt_key_missing": "There is no key to seal what is kept of today; the sweeper makes one.",
    "replica_lost": "The machine that was drawing was lost.",
    "store_unavailable": "The picture could not be stored.",
}
TEMPORARY = {
    "database_unavailable",
    "draining",
    "edge_lost",
    "model_unavailable",
    "moderation_unavailable",
    "overloaded",
    "policy_mismatch",
    "replica_lost",
    "store_unavailable",
}


class EdgeError(Exception):
    """Every error of ours; its text is safe to show and to log."""


class SettingsError(EdgeError):
    """Names the variable, and never the value of a secret."""


class Refusal(EdgeError):
    status: ClassVar[int] = 500
    code: str = "server_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class BadInput(Refusal):
    status = 400

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message, param=param)
        self.code = code


class ModerationBlocked(Refusal):
    """The same words whatever it was; `reference` is the decision's."""

    status = 400
    code = "moderation_blocked"

    def __init__(self, *, stage: str, category: str, reference: str) -> None:
        super().__init__(message_for(self.code))
        self.stage = stage
        self.category = category
        self.reference = reference


class BadCredential(Refusal):
    status = 401
    code = "invalid_api_key"


class CrossSite(Refusal):
    status = 403
    code = "cross_site"


class ProofRequired(Refusal):
    """`challenge` is ALTCHA's, as JSON has it."""

    status = 403
    code = "proof_of_work_required"

    def __init__(self, message: str, challenge: Mapping[str, object]) -> None:
        super().__init__(message)
        self.challenge = challenge


class InsufficientScope(Refusal):
    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"this credential lacks the scope `{scope}`")
        self.scope = scope


class NotFound(Refusal):
    status = 404
    code = "not_found"


class AccountGone(NotFound):
    def __init__(self) -> None:
        super().__init__("this account was deleted")


class MethodNotAllowed(Refusal):
    status = 405
    code = "method_not_allowed"


class BodyTooSlow(Refusal):
    status = 408
    code = "body_too_slow"

    def __init__(self, within_s: float) -> None:
        super().__init__(f"the body of the request did not come whole within {within_s:g} s")


class Cancelled(Refusal):
    status = 409
    code = "cancelled"

    def __init__(self) -> None:
        super().__init__(message_for(self.code))


class Gone(Refusal):
    status = 410
    code = "gone"


class BodyTooLarge(Refusal):
    status = 413
    code = "body_too_large"


class UnsupportedMediaType(Refusal):
    status = 415
    code = "unsupported_media_type"


class WrongHost(Refusal):
    status = 421
    code = "wrong_host"


class RateLimited(Refusal):
    status = 429
    code = "rate_limit_exceeded"


class GenerationFailed(Refusal):
    """Carries the code the engine gave; what it said stays inside."""

    def __init__(self, code: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(
            message_for(code), retry_after_s=usual_wait_s(code) if retry_after_s is None else retry_after_s
        )
        self.code = code


class NotReady(Refusal):
    status = 503
    code = "not_ready"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_s=RETRY_AFTER_S)


class ModerationUnavailable(Refusal):
    status = 503
    code = "moderation_unavailable"

    def __init__(self) -> None:
        super().__init__(message_for(self.code), retry_after_s=RETRY_AFTER_S)


class NoDayKey(Refusal):
    status = 503
    code = "prompt_key_missing"

    def __init__(self) -> None:
        super().__init__(message_for(self.code), retry_after_s=RETRY_AFTER_S)


class DatabaseUnavailable(Refusal):
    status = 503
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__(message_for(self.code), retry_after_s=RETRY_AFTER_S)


def message_for(code: str) -> str:
    return MESSAGES.get(code, MESSAGES["engine_failed"])


def usual_wait_s(code: str) -> float | None:
    """Before another try makes sense; None where it makes none."""
    return RETRY_AFTER_S if code in TEMPORARY else None


def status_of(refusal: Refusal) -> int:
    if isinstance(refusal, GenerationFailed):
        return 503 if refusal.code in TEMPORARY else 500
    return refusal.status
