"""What can go wrong on the GPU side, each with a stable code that travels to the caller.

ServeError
├── BadRequest            bad_request          the edge sent what this model cannot do
├── PolicyMismatch        policy_mismatch      edge and replica work from different policies
├── ModelUnavailable      model_unavailable    nothing serves this model now
│   └── Draining          draining             it is being taken out of service
├── Overloaded            overloaded           the estimate misses the deadline, or too much waits already
├── ModerationUnavailable moderation_unavailable  a picture cannot be checked, so nobody sees it
├── StoreUnavailable      store_unavailable    the object store refused or did not answer, retries included
├── ReplicaLost           replica_lost         the replica died or the stream to it broke
└── EngineFailed          engine_failed        a step or a decode raised; the bug is ours
"""


class ServeError(Exception):
    """Carries a message that is safe to show: it never quotes a prompt."""

    code = "serve_error"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class BadRequest(ServeError):
    code = "bad_request"


class PolicyMismatch(ServeError):
    code = "policy_mismatch"


class ModelUnavailable(ServeError):
    code = "model_unavailable"


class Draining(ModelUnavailable):
    code = "draining"


class Overloaded(ServeError):
    """Trying again makes sense after `retry_after_s`."""

    code = "overloaded"


class ModerationUnavailable(ServeError):
    code = "moderation_unavailable"


class StoreUnavailable(ServeError):
    code = "store_unavailable"


class ReplicaLost(ServeError):
    code = "replica_lost"


class EngineFailed(ServeError):
    code = "engine_failed"
