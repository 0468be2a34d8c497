"""Read the policy files: TOML -> Policies, with every mistake named by file and path.

A policy that does not load stops the process that needs it: nothing runs on guessed promises.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from policies.dated import Dated
from policies.moderation import ImagePolicy, ModerationPolicy
from policies.moderation_check import moderation_contradictions
from policies.obeyed import OBEYED
from policies.schema import (
    MAX_KEPT,
    MIN_RETENTION,
    Kept,
    Model,
    ModelsPolicy,
    Plan,
    PlansPolicy,
    Policies,
    RetentionPolicy,
)
from policies.size import parse_size

DatedT = TypeVar("DatedT", bound=Dated)
DRAWN_FROM = (
    "family",
    "weights",
    "sampler",
    "sizes",
    "native_size",
    "max_prompt_tokens",
    "steps",
    "guidance",
    "batching",
)
USED_PLANS = ("anonymous", "account")  # by the code, by name


class PolicyError(Exception):
    """A policy file is missing, malformed or contradicts another; the message names file and place."""


def load_policies(directory: Path | None = None) -> Policies:
    """The policies in `directory`, or those of the package. Raises PolicyError."""
    root = directory or Path(str(resources.files("policies")))
    policies = Policies(
        retention=_read(root / "retention.toml", RetentionPolicy),
        plans=_read(root / "plans.toml", PlansPolicy),
        models=_read(root / "models.toml", ModelsPolicy),
        moderation=_read(root / "moderation.toml", ModerationPolicy),
    )
    if contradictions := list(_contradictions(policies)):
        raise PolicyError("\n".join(contradictions))
    return policies


def model_digest(model: Model, images: ImagePolicy) -> str:
    """What edge and replica compare, so that neither works from another policy than the other.

    Of what a replica draws and checks from alone: a new title or note stops nothing.
    """
    drawn_from = {name: getattr(model, name) for name in DRAWN_FROM} | {"images": images}
    return hashlib.sha256(msgspec.json.encode(drawn_from, order="sorted")).hexdigest()[:16]


def accepted_digests(model: Model, images: ImagePolicy) -> set[str]:
    """What a replica accepts: the digest of its own policy and, where the entry names it, of the one before."""
    return {model_digest(model, images)} | ({model.previous_digest} if model.previous_digest else set[str]())


def _read(path: Path, kind: type[DatedT]) -> DatedT:
    try:
        parsed = tomllib.loads(path.read_text("utf-8"))
        if endless := list(_not_finite(parsed, "$")):
            raise PolicyError("\n".join(f"{path.name}: {place}: not a finite number" for place in endless))
        return msgspec.convert(parsed, kind)
    except FileNotFoundError as error:
        raise PolicyError(f"{path} is missing") from error
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path.name}: not UTF-8 at byte {error.start}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PolicyError(f"{path.name}: {error}") from error


def _not_finite(value: object, place: str) -> Iterator[str]:
    """Places of NaN and infinity: TOML has them, no promise can."""
    match value:
        case float() if not isfinite(value):
            yield place
        case dict():
            for key, item in cast("dict[str, object]", value).items():
                yield from _not_finite(item, f"{place}.{key}")
        case list():
            for index, item in enumerate(cast("list[object]", value)):
                yield from _not_finite(item, f"{place}[{index}]")
        case _:
            pass


def _repeated(values: Iterable[object]) -> list[object]:
    return [value for value, times in Counter(values).items() if times > 1]


def _contradictions(policies: Policies) -> Iterator[str]:
    for name in Policies.__struct_fields__:
        file: Dated = getattr(policies, name)
        if file.version != max(change.version for change in file.changes):
            yield f"{name}.toml: `version` is {file.version}, but `changes` does not end with it"
    yield from _retention_contradictions(policies.retention)
    yield from _plan_contradictions(policies)
    for name, model in policies.models.models.items():
        yield from _model_contradictions(f"models.toml: $.models.{name}", model)
    yield from moderation_contradictions(policies.moderation, set(policies.plans.plans))


def _retention_contradictions(retention: RetentionPolicy) -> Iterator[str]:
    named: dict[str, str] = {}
    for name, kept in retention.classes.by_name().items():
        at = f"retention.toml: $.classes.{name}"
        yield from _end_contradictions(at, name, kept)
        for place in kept.places:
            if (other := named.setdefault(place, name)) != name:
                yield f"{at}.places: {place} is named by $.classes.{other} already"
    for days in _repeated(retention.backstop_days):
        yield f"retention.toml: $.backstop_days: {days} is there twice"
    if retention.training.ground == "consent" and retention.training.mode == "opt_out":
        yield "retention.toml: $.training: consent is something a person gives, so it needs the mode `opt_in`"


def _end_contradictions(at: str, name: str, kept: Kept) -> Iterator[str]:
    """Whatever the file says otherwise than the code does."""
    obeyed = OBEYED[name]
    if kept.kept_until != obeyed.until or (kept.kept_for is None) == (obeyed.until is None):
        wanted = f"`kept_until` be {obeyed.until!r}, and no `kept_for`" if obeyed.until else "`kept_for` alone"
        yield f"{at}: the code that obeys it needs {wanted}"
    if kept.kept_for is not None and not timedelta(0) < kept.kept_for <= MAX_KEPT:
        yield f"{at}.kept_for: longer than nothing and at most {MAX_KEPT.days} days"
    if kept.kept_for is not None and obeyed.in_whole_days and kept.kept_for % timedelta(days=1):
        yield f"{at}.kept_for: in whole days, since its files are of a day and go whole"
    if kept.erasure != obeyed.erasure:
        yield f"{at}.erasure: the code that obeys it does otherwise: {obeyed.erasure!r}"
    if (kept.erasure == "does not reach it") != (kept.because is not None):
        yield f"{at}: `because` is for what erasure does not reach, and needed there"


def _plan_contradictions(policies: Policies) -> Iterator[str]:
    for name in USED_PLANS:
        if name not in policies.plans.plans:
            yield f"plans.toml: $.plans: callers without an account need the plan `{name}`"
    yield from _network_contradictions(policies.plans)
    for name, plan in policies.plans.plans.items():
        at = f"plans.toml: $.plans.{name}"
        if plan.traffic not in policies.plans.traffic:
            yield f"{at}.traffic: there is no class `{plan.traffic}`"
        for model in plan.models:
            if model not in policies.models.models:
                yield f"{at}.models: models.toml has no `{model}`"
        for model in _repeated(plan.models):
            yield f"{at}.models: {model} is there twice"
        for model in plan.models:
            if usual := policies.models.models.get(model):
                yield from _out_of_reach(at, plan, usual)
        for window in ("images_per_minute", "images_per_day"):
            if getattr(plan.allowance, window) < plan.max_images:
                yield f"{at}.allowance.{window}: less than the {plan.max_images} of `max_images`"
        for which in ("default", "maximum"):
            if getattr(plan.retention, which) < MIN_RETENTION:
                yield f"{at}.retention.{which}: shorter than {MIN_RETENTION.total_seconds():g} s"
        if plan.retention.default > plan.retention.maximum:
            yield f"{at}.retention: the default is longer than the maximum"
        try:
            policies.retention.backstop_for(plan.retention.maximum)
        except ValueError as error:
            yield f"{at}.retention.maximum: {error} (retention.toml: $.backstop_days)"


def _network_contradictions(plans: PlansPolicy) -> Iterator[str]:
    """A prefix holds all narrower ones: it may not have less than one of them."""
    tables: dict[str, dict[str, msgspec.Struct]] = {
        "networks": {**plans.networks.levels()},
        "entry": {**plans.entry.levels()},
        "notices": {**plans.notices.levels()},
    }
    for table, limits in tables.items():
        for narrow, wide in (("ipv6_64", "ipv6_56"), ("ipv6_56", "ipv6_48")):
            for window in limits[wide].__struct_fields__:
                if getattr(limits[wide], window) < getattr(limits[narrow], window):
                    yield f"plans.toml: $.{table}.{wide}.{window}: less than {narrow} has"
    if plans.anonymous_budget.share > plans.anonymous_budget.images_per_minute:
        yield "plans.toml: $.anonymous_budget.share: more than all of it"


def _out_of_reach(at: str, plan: Plan, model: Model) -> Iterator[str]:
    """What the plan's models do when nothing is said must be allowed."""
    if parse_size(model.auto_size).area_px > plan.max_pixels:
        yield f"{at}.max_pixels: less than {model.auto_size}, which is drawn when nothing is said"
    if model.steps.default > plan.max_steps:
        yield f"{at}.max_steps: less than the {model.steps.default} that are taken when nothing is said"


def _model_contradictions(at: str, model: Model) -> Iterator[str]:
    if model.auto_size not in model.sizes:
        yield f"{at}.auto_size: {model.auto_size} is not among `sizes`"
    for size in _repeated(model.sizes):
        yield f"{at}.sizes: {size} is there twice"
    for word in ("default", "low", "medium", "high"):
        if not model.steps.minimum <= getattr(model.steps, word) <= model.steps.maximum:
            yield f"{at}.steps.{word}: outside minimum and maximum"
    if not model.guidance.minimum <= model.guidance.default <= model.guidance.maximum:
        yield f"{at}.guidance.default: outside minimum and maximum"
    if model.family == "unet":
        if not model.weights:
            yield f"{at}.weights: this family needs a directory"
        for size in model.sizes:
            if any(px % 8 for px in parse_size(size)):
                yield f"{at}.sizes: {size} is not divisible by 8"
