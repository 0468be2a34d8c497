"""Policies -> what others read and run: the store's lifecycle rules, what the deleter empties, the public policy.

Pages and JSON are rendered from `published`; nothing here is said twice. Knows neither HTML nor S3.
"""

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from policies.dated import Change, Dated
from policies.schema import (
    Canaries,
    Erasure,
    Ground,
    Kept,
    Meaning,
    Plan,
    Policies,
    RetentionPolicy,
    TrainingGround,
    TrainingMode,
)  # fmt: skip

FileName = Literal["retention", "plans"]
Iso = Annotated[str, Meta(pattern=r"^P(?=.)(\d{1,6}D)?(T(?=.)(\d{1,9}H)?(\d{1,9}M)?(\d{1,9}(\.\d{1,6})?S)?)?$")]
IMAGES = "img"
TRAINING = "training"
IN_WORDS = {"block": "for nobody", "adults_only": "only for callers whom the operator knows to be adults"}
UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


class LifecycleRule(Struct, frozen=True):
    """The store itself removes what lies under `prefix` once it is `days` old, by whole days as S3 counts them."""

    id: str
    prefix: str
    days: int


class PublishedClass(Struct, frozen=True, omit_defaults=True):
    """One row of the public table. `kept_for` is ISO 8601; `kept` says the same, or until when, in words."""

    name: str
    what: str
    where: str
    kept: str
    counted_from: str
    why: str
    ground: Ground
    readers: str
    ends_by: str
    erasure: Erasure
    kept_for: Iso | None = None
    because: str | None = None


class PublishedPlan(Struct, frozen=True, omit_defaults=True):
    """How long a plan's images live, in ISO 8601; a caller chooses up to the maximum, or that nothing is stored.

    The days are when the store's own rule would remove them, were the deleter dead. `allowance` is how much a caller
    may ask for: policies that were published before there were limits have none.
    """

    default: Iso
    maximum: Iso
    default_backstop_days: int
    maximum_backstop_days: int
    allowance: dict[str, int] | None = None


class PublishedTraining(Struct, frozen=True):
    """The mode in force, and what each mode would mean."""

    mode: TrainingMode
    ground: TrainingGround
    meaning: Meaning

    @property
    def means(self) -> str:
        words: str = getattr(self.meaning, self.mode)
        return words


class PublishedFile(Struct, frozen=True):
    """The public history of one policy file, newest change first."""

    version: int
    effective: date
    changes: list[Change]


class RefusedCategory(Struct, frozen=True):
    """A category of `moderation.toml`, and for whom nothing of it is made."""

    title: str
    whom: str


class Published(Struct, frozen=True):
    """The public policy, whole."""

    history: dict[FileName, PublishedFile]
    classes: list[PublishedClass]
    plans: dict[str, PublishedPlan]
    training: PublishedTraining
    backstop: Annotated[list[LifecycleRule], Meta(min_length=1)]
    backstop_digest: str
    canaries: Canaries
    backups_days: int
    undisclosed: str
    never_done: list[str]

    @property
    def effective(self) -> date:
        """Since when all of it holds."""
        return max(file.effective for file in self.history.values())


def lifecycle_rules(policies: Policies) -> list[LifecycleRule]:
    """One for each prefix that holds what goes by its minute: the backstop where the deleter is dead."""
    retention = policies.retention
    classes = [(IMAGES, days) for days in sorted(retention.backstop_days)]
    classes.append((TRAINING, retention.training_backstop_days))
    return [LifecycleRule(f"sfumato-{prefix}-{days}d", f"{prefix}/{days}d/", days) for prefix, days in classes]


def published(policies: Policies) -> Published:
    retention, rules = policies.retention, lifecycle_rules(policies)
    return Published(
        history={"retention": _file(retention), "plans": _file(policies.plans)},
        classes=[_class(name, kept) for name, kept in retention.classes.by_name().items()],
        plans={name: _plan(plan, retention) for name, plan in policies.plans.plans.items()},
        training=PublishedTraining(retention.training.mode, retention.training.ground, retention.training.meaning),
        backstop=rules,
        backstop_digest=rules_digest(rules),
        canaries=retention.canaries,
        backups_days=retention.backups_days,
        undisclosed=retention.undisclosed,
        never_done=retention.never_done,
    )


def refused(policies: Policies) -> list[RefusedCategory]:
    """What is not made, and for whom: never the words that it is known by."""
    found = [(each.title, each.action) for each in policies.moderation.categories.values()]
    return [RefusedCategory(title, IN_WORDS[action]) for title, action in found if action in IN_WORDS]


def rules_digest(rules: Sequence[LifecycleRule]) -> str:
    """Short enough to compare by eye; the order of the rules does not matter."""
    return hashlib.sha256(msgspec.json.encode(sorted(rules, key=lambda rule: rule.id))).hexdigest()[:16]


def kept_in_words(kept: Kept) -> str:
    """`30 days`, or `until the job ends`."""
    return in_words(kept.kept_for) if kept.kept_for is not None else f"until {kept.kept_until}"


def in_words(duration: timedelta) -> str:
    """`1 hour`, `30 days`, `1 day 2 hours`; what is below a minute in seconds."""
    rest, parts = duration, list[str]()
    for unit, name in UNITS:
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    if rest or not parts:
        parts.append(f"{rest.total_seconds():g} seconds")
    return " ".join(parts)


def in_one_unit(seconds: float) -> str:
    """`12 seconds`, `66 minutes`, `3 days`: rounded down, in the largest unit of which there are two."""
    whole = max(0, int(seconds))
    unit_s, name = next(
        ((unit.total_seconds(), name) for unit, name in UNITS if whole >= 2 * unit.total_seconds()), (1, "second")
    )
    count = int(whole // unit_s)
    return f"{count} {name}{'' if count == 1 else 's'}"


def iso(duration: timedelta) -> str:
    """ISO 8601 as people write it: `PT1H`, `P1DT2H`; msgspec would say `PT3600S`."""
    rest, date_part, time_part = duration, "", ""
    for unit, letter in ((timedelta(days=1), "D"), (timedelta(hours=1), "H"), (timedelta(minutes=1), "M")):
        count, rest = divmod(rest, unit)
        if count and letter == "D":
            date_part = f"{count}D"
        elif count:
            time_part += f"{count}{letter}"
    if rest or not (date_part or time_part):
        time_part += f"{rest.total_seconds():g}S"
    return f"P{date_part}{'T' if time_part else ''}{time_part}"


def _file(file: Dated) -> PublishedFile:
    newest_first = sorted(file.changes, key=lambda change: change.version, reverse=True)
    return PublishedFile(file.version, file.effective, newest_first)


def _plan(plan: Plan, retention: RetentionPolicy) -> PublishedPlan:
    default, maximum = plan.retention.default, plan.retention.maximum
    days = retention.backstop_for(default), retention.backstop_for(maximum)
    return PublishedPlan(iso(default), iso(maximum), *days, _allowance(plan))


def _allowance(plan: Plan) -> dict[str, int]:
    """Every number that is a limit of a caller, by its name in `plans.toml`."""
    bounds = {name: getattr(plan, name) for name in ("max_images", "max_pixels", "max_steps", "concurrent_jobs")}
    return bounds | {name: getattr(plan.allowance, name) for name in plan.allowance.__struct_fields__}


def _class(name: str, kept: Kept) -> PublishedClass:
    return PublishedClass(
        name=name,
        what=kept.what,
        where=kept.where,
        kept=kept_in_words(kept),
        kept_for=iso(kept.kept_for) if kept.kept_for is not None else None,
        counted_from=kept.counted_from,
        why=kept.why,
        ground=kept.ground,
        readers=kept.readers,
        ends_by=kept.ends_by,
        erasure=kept.erasure,
        because=kept.because,
    )
