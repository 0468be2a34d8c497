"""The shape of the policy files: frozen structs, unknown keys refused with their path.

Knows what a policy may say, not where it lies on disk (`load.py`) nor how it is shown (`publish.py`). Durations are
ISO 8601 (`PT1H`); sizes are `WIDTHxHEIGHT` in pixels.
"""

from datetime import date, timedelta
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from policies.dated import Count, Dated, Name, Text
from policies.moderation import ModerationPolicy
from policies.size import Size

Days = Annotated[int, Meta(ge=1, le=3650)]  # an address has room for 4095
Seconds = Annotated[float, Meta(gt=0)]

LimitsT = TypeVar("LimitsT")

MIN_RETENTION = timedelta(minutes=1)  # of an image that is stored: it goes by the minute
MAX_KEPT = timedelta(days=3650)  # of anything: ten years, for which calendars and addresses have room


# retention.toml ------------------------------------------------------------------------------------------------------


Erasure = Literal["reaches it", "ends by itself", "loses its subject", "holds no subject", "does not reach it"]
Ground = Literal["contract", "consent", "legitimate interest", "legal obligation", "as the training choice says"]
KeptUntil = Literal[
    "the image goes", "the job ends", "the minute its caller chose", "its records have gone", "replaced by the next",
    "two days have passed", "its owner deletes it",
]  # fmt: skip
Place = Annotated[str, Meta(pattern=r"^(table|prefix|stream|files|memory):[a-z_]+$")]
TrainingGround = Literal["consent", "legitimate interest"]
TrainingMode = Literal["opt_out", "opt_in", "never"]


class Kept(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One class of data: what it is, where it lies, when and how it goes, why, on what ground, and who can read it.

    It is kept for a time (`kept_for`) or until something happens (`kept_until`), as `obeyed.py` says. `places` says to
    machines what `where` says to people: each table, object prefix, stream and directory of ours is in exactly one
    class. `because` is given where erasure does not reach it.
    """

    what: Text
    where: Text
    places: Annotated[list[Place], Meta(min_length=1)]
    kept_for: timedelta | None = None
    kept_until: KeptUntil | None = None
    counted_from: Text
    why: Text
    ground: Ground
    readers: Text
    ends_by: Text
    erasure: Erasure
    because: str | None = None

    @property
    def duration(self) -> timedelta:
        """For a class that `load.py` has found to be kept for a time."""
        if self.kept_for is None:
            raise ValueError(f"kept until {self.kept_until}, not for a time")
        return self.kept_for

    @property
    def duration_s(self) -> float:
        return self.duration.total_seconds()


class KeptClasses(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every class there is. Code that stores something names its class here, by attribute."""

    output_image: Kept
    job_and_image_rows: Kept
    job_state: Kept
    waiting_prompt: Kept
    moderation_prompt: Kept
    moderation_decision: Kept
    day_key: Kept
    training_copy: Kept
    session: Kept
    account: Kept
    job_events: Kept
    limit_counters: Kept
    rights_request: Kept
    notice: Kept
    proofs: Kept
    canary: Kept
    operations: Kept
    logs: Kept

    def by_name(self) -> dict[str, Kept]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


class Meaning(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What each training mode means for a caller, in plain words."""

    opt_out: Text
    opt_in: Text
    never: Text


class Training(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether pictures may be copied for training, and on what legal ground."""

    mode: TrainingMode
    ground: TrainingGround
    meaning: Meaning

    @property
    def means(self) -> str:
        words: str = getattr(self.meaning, self.mode)
        return words


class Canaries(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lifecycle classes of up to `up_to_days` have a canary; it is overdue `late_after_hours` after its class."""

    up_to_days: Days
    late_after_hours: Annotated[int, Meta(ge=1, le=8760)]


class RetentionPolicy(Dated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`retention.toml`. `backstop_days` are the lifecycle classes of stored images, in whole days as S3 counts them.

    `undisclosed` is the sentence that everyone reads about what the law may make the operator set aside.
    """

    backstop_days: Annotated[list[Days], Meta(min_length=1)]
    backups_days: Days
    undisclosed: Text
    never_done: Annotated[list[Text], Meta(min_length=1)]
    training: Training
    canaries: Canaries
    classes: KeptClasses

    def backstop_for(self, kept_for: timedelta) -> int:
        """The smallest backstop in days that is longer than `kept_for`; ValueError when there is none."""
        for days in sorted(self.backstop_days):
            if timedelta(days=days) > kept_for:
                return days
        raise ValueError(f"no backstop class is longer than {kept_for}")

    @property
    def training_backstop_days(self) -> int:
        """Of training copies, which have one class of their own: the whole days after their time."""
        return self.classes.training_copy.duration.days + 1


# plans.toml ----------------------------------------------------------------------------------------------------------


class TrafficClass(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the scheduler treats a class of callers.

    `weight` is its share of the machine while others wait too; `max_step_slowdown` bounds how much slower than alone a
    step of its rows may become because rows of lower classes ride along (None: no bound); `deadline_s` is the estimate
    above which new work is refused at once.
    """

    weight: Annotated[float, Meta(gt=0)]
    deadline_s: Seconds
    max_step_slowdown: Annotated[float, Meta(ge=1)] | None = None


class RetentionChoice(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a plan's images live: by default, and at the most."""

    default: timedelta
    maximum: timedelta


class Allowance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much in how long. A request is any call; one for pictures counts as each of its images too."""

    images_per_minute: Count
    images_per_day: Count
    requests_per_minute: Count
    moderations_per_minute: Count


class EntryLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many accounts are made, and how many tries to make one or to sign in may fail."""

    accounts_per_day: Count
    failed_tries_per_minute: Count


class NoticeLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many reports and objections are taken."""

    reports_per_day: Count
    appeals_per_day: Count


class ByNetwork(Struct, Generic[LimitsT], frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What callers from one part of the network may do together.

    An IPv4 caller counts under its address; an IPv6 caller under three prefixes, of which each holds the one before.
    """

    ipv4_32: LimitsT
    ipv6_64: LimitsT
    ipv6_56: LimitsT
    ipv6_48: LimitsT

    def levels(self) -> dict[str, LimitsT]:
        return {level: getattr(self, level) for level in self.__struct_fields__}


class AnonymousBudget(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all callers without an account may draw together.

    `share`: images that an edge takes of it at once. Above `proof_above` of it a picture call must prove some work:
    some 256 attempts of `proof_cost` rounds of PBKDF2 each, of which the edge repeats one.
    """

    images_per_minute: Count
    share: Count
    proof_above: Annotated[float, Meta(ge=0, le=1)]
    proof_cost: Annotated[int, Meta(ge=1, le=1_000_000)]


class Plan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one kind of caller may ask for. `concurrent_jobs` counts plain calls too, while they are drawn."""

    traffic: Name
    models: Annotated[list[Name], Meta(min_length=1)]
    max_images: Annotated[int, Meta(ge=1, le=10)]
    max_pixels: Count
    max_steps: Count
    concurrent_jobs: Count
    allowance: Allowance
    retention: RetentionChoice


class PlansPolicy(Dated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`plans.toml`."""

    traffic: Annotated[dict[Name, TrafficClass], Meta(min_length=1)]
    networks: ByNetwork[Allowance]
    entry: ByNetwork[EntryLimits]
    notices: ByNetwork[NoticeLimits]
    anonymous_budget: AnonymousBudget
    plans: Annotated[dict[Name, Plan], Meta(min_length=1)]


# models.toml ---------------------------------------------------------------------------------------------------------


class Steps(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Denoising steps: the default, the bounds, and what the words of OpenAI's `quality` stand for."""

    default: Count
    minimum: Count
    maximum: Count
    low: Count
    medium: Count
    high: Count


class Guidance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Classifier-free guidance scale. At 1 and below a row is one forward row, above it is two."""

    default: float
    minimum: Annotated[float, Meta(ge=0)]
    maximum: float


class Batching(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of the learned batch size: forward rows in one pass, and how long one step may take."""

    max_forward_rows: Count
    max_step_s: Seconds


class Model(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model on offer. `weights` is a local directory; the embedded family brings its own and needs none.

    `gpus` is what each replica asks of Ray, parts of one included; with 0 it takes the device that it sees.
    `previous_digest` is what `sfumato policies check` said before the last change of the entry: replicas accept it too,
    so that they can be renewed first and the edges after them.
    """

    title: Text
    family: Literal["embedded", "unet"]
    licence: Text
    created: date
    sizes: Annotated[list[Size], Meta(min_length=1)]
    auto_size: Size
    native_size: Size | None = None
    max_prompt_tokens: Count
    steps: Steps
    guidance: Guidance
    batching: Batching
    weights: str | None = None
    sampler: Literal["euler", "euler_ancestral"] = "euler"
    gpus: Annotated[float, Meta(ge=0)] = 0.0
    note: str = ""
    previous_digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")] | None = None


class ModelsPolicy(Dated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`models.toml`."""

    models: Annotated[dict[Name, Model], Meta(min_length=1)]


class Policies(Struct, frozen=True):
    """All policy files together, cross-checked by `load.py`."""

    retention: RetentionPolicy
    plans: PlansPolicy
    models: ModelsPolicy
    moderation: ModerationPolicy
