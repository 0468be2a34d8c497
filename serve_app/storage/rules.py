"""The store's own lifecycle rules: installed from the policy, read back and compared; and whether the bucket is safe.

A rule counts by what it does, not by its name. Rules that are not ours are kept and named. Nothing here deletes what
others stored; the one object it writes, to see whether a stranger can read it, lies where the rules would remove it.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Literal, TypeVar

import urllib3
from minio.commonconfig import ENABLED, Filter
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule
from msgspec import Struct

from policies.publish import LifecycleRule
from serve_app.errors import StoreUnavailable
from serve_app.storage.s3 import open_client
from serve_app.storage.store import StoreSettings

T = TypeVar("T")

OURS = "sfumato-"
UNFINISHED = Rule(
    ENABLED,
    rule_filter=Filter(prefix=""),
    rule_id=f"{OURS}uploads",
    abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=1),
)
UNABLE = {"NotImplemented", "XNotImplemented", "MethodNotAllowed"}
NOT_ALLOWED = "these credentials may not read or set the bucket's rules (AccessDenied)"
UNREADABLE = "the bucket has a rule of a kind that would be lost here: write it with a prefix filter, or remove it"


class RulesFound(Struct, frozen=True, kw_only=True):
    """`unsafe`: public or versioned, where no rule keeps the promise; `unknown`: the store does not let us ask.

    `findings` are sentences for the operator, and there may be some where all agrees. A missing rule against
    unfinished uploads is a finding and no difference: some servers have none, and what is stored goes without it.
    """

    state: Literal["agree", "differ", "unsafe", "unknown"]
    findings: list[str]


async def install_rules(settings: StoreSettings, wanted: Sequence[LifecycleRule]) -> RulesFound:
    """Installs what is missing and reads it back; leaves an unsafe bucket as it is. Raises StoreUnavailable."""
    return await asyncio.to_thread(_answered, settings, lambda bucket: bucket.install(wanted))


async def verify_rules(settings: StoreSettings, wanted: Sequence[LifecycleRule]) -> RulesFound:
    """The same without installing. Raises StoreUnavailable."""
    return await asyncio.to_thread(_answered, settings, lambda bucket: bucket.verify(wanted))


def _answered(settings: StoreSettings, ask: Callable[["_Bucket"], RulesFound]) -> RulesFound:
    try:
        return ask(_Bucket(settings))
    except S3Error as error:
        if error.code == "AccessDenied":
            return RulesFound(state="unknown", findings=[NOT_ALLOWED])
        raise StoreUnavailable(f"the object store refused bucket {settings.bucket}: {error.code}") from error
    except ValueError:  # the SDK cannot read a rule
        return RulesFound(state="unknown", findings=[UNREADABLE])
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(f"the object store does not answer: {type(error).__name__}") from error


class _Bucket:
    """One look at one bucket. `_notes` gathers what the server cannot do, and what is worth knowing."""

    def __init__(self, settings: StoreSettings) -> None:
        self._name = settings.bucket
        self._client = open_client(settings)
        self._stranger = open_client(settings, is_anonymous=True)
        self._notes: list[str] = []

    def install(self, wanted: Sequence[LifecycleRule]) -> RulesFound:
        if dangers := self._dangers(wanted):
            return RulesFound(state="unsafe", findings=dangers)
        present = self._present()
        missing = [rule for rule in (*map(_expiry, wanted), UNFINISHED) if not _is_among(rule, present)]
        kept = [rule for rule in present if not _is_replaced(rule, missing)]
        if missing and any(_loses_its_prefix(rule) for rule in kept):
            return RulesFound(state="differ", findings=[UNREADABLE])
        if missing:
            self._set(kept, missing)
        return self._compare(wanted)

    def verify(self, wanted: Sequence[LifecycleRule]) -> RulesFound:
        dangers = self._dangers(wanted)
        return RulesFound(state="unsafe", findings=dangers) if dangers else self._compare(wanted)

    def _compare(self, wanted: Sequence[LifecycleRule]) -> RulesFound:
        present = self._present()
        ours = [_expiry(rule) for rule in wanted]
        wrong = [f"missing: {_in_words(rule)}" for rule in ours if not _is_among(rule, present)]
        wrong += [f"deletes too soon: {_in_words(rule)}" for rule in present if _deletes_sooner(rule, wanted)]
        if not _is_among(UNFINISHED, present):
            self._notes.append(f"missing: {_in_words(UNFINISHED)}")
        for rule in present:
            if not _is_among(rule, [*ours, UNFINISHED]):
                self._notes.append(f"kept, though not of this policy: {_in_words(rule)}")
        return RulesFound(state="differ" if wrong else "agree", findings=[*wrong, *self._notes])

    def _dangers(self, wanted: Sequence[LifecycleRule]) -> list[str]:
        dangers: list[str] = []
        versioning = self._ask("say whether it keeps versions", lambda: self._client.get_bucket_versioning(self._name))
        if versioning is not None and versioning.status:
            dangers.append(f"the bucket keeps versions ({versioning.status}): what is deleted would stay; use another")
        policy = self._ask("show a bucket policy", lambda: self._client.get_bucket_policy(self._name))
        if (policy is not None and _lets_anyone(policy)) or self._strangers_read(wanted[0].prefix):
            dangers.append("the bucket is public: strangers may read it; remove its bucket policy and public access")
        return dangers

    def _strangers_read(self, prefix: str) -> bool:
        """Ask without credentials, for the list and for an object of our own that is there."""
        key = f"{prefix}canary/{secrets.token_hex(16)}"
        self._client.put_object(self._name, key, BytesIO(b"canary"), 6)
        try:
            return _succeeds(lambda: next(iter(self._stranger.list_objects(self._name)), None)) or _succeeds(
                lambda: self._stranger.stat_object(self._name, key)
            )
        finally:
            self._client.remove_object(self._name, key)

    def _present(self) -> list[Rule]:
        config = self._ask("list lifecycle rules", lambda: self._client.get_bucket_lifecycle(self._name))
        return [] if config is None else list(config.rules)

    def _set(self, kept: Sequence[Rule], missing: Sequence[Rule]) -> None:
        """Where the server refuses the lot, once more without the rule that some servers lack."""
        sets = [[*kept, *missing], [rule for rule in (*kept, *missing) if rule is not UNFINISHED]]
        for rules in sets:
            try:
                self._client.set_bucket_lifecycle(self._name, LifecycleConfig(rules))
            except S3Error as error:
                if error.code not in UNABLE:
                    raise
                self._notes.append(f"the server cannot set {len(rules)} lifecycle rules ({error.code})")
            else:
                return

    def _ask(self, what: str, call: Callable[[], T]) -> T | None:
        """None where there is nothing, or where the server has no such thing, which is noted."""
        try:
            return call()
        except S3Error as error:
            if error.code == "NoSuchBucketPolicy":
                return None
            if error.code in UNABLE:
                note = f"the server cannot {what} ({error.code})"
                if note not in self._notes:
                    self._notes.append(note)
                return None
            raise


def _expiry(rule: LifecycleRule) -> Rule:
    return Rule(ENABLED, rule_filter=Filter(prefix=rule.prefix), rule_id=rule.id, expiration=Expiration(days=rule.days))


def _effect(rule: Rule) -> tuple[object, ...]:
    """All but its name. Ceph gives an empty prefix back in a form that the SDK reads as no filter."""
    prefix = None if rule.rule_filter is None else rule.rule_filter.prefix
    narrowed = rule.rule_filter is not None and rule.rule_filter.prefix is None  # by tags, or by several things
    abort = rule.abort_incomplete_multipart_upload
    others = (rule.transition, rule.noncurrent_version_expiration, rule.noncurrent_version_transition)
    expiry = rule.expiration
    return (
        rule.status, prefix or "", narrowed, others,
        expiry and (expiry.days, expiry.date), abort and abort.days_after_initiation,
    )  # fmt: skip


def _is_among(rule: Rule, rules: Sequence[Rule]) -> bool:
    return any(_effect(rule) == _effect(other) for other in rules)


def _is_replaced(rule: Rule, missing: Sequence[Rule]) -> bool:
    return rule.rule_id in {new.rule_id for new in missing}


def _loses_its_prefix(rule: Rule) -> bool:
    """Written back without a filter it would come to cover the whole bucket."""
    return rule.rule_filter is None and not _is_among(rule, [UNFINISHED])


def _deletes_sooner(rule: Rule, wanted: Sequence[LifecycleRule]) -> bool:
    expiry = rule.expiration
    if rule.status != ENABLED or expiry is None or (expiry.days is None and expiry.date is None):
        return False
    prefix = (rule.rule_filter.prefix if rule.rule_filter else None) or ""
    touched = [ours for ours in wanted if ours.prefix.startswith(prefix) or prefix.startswith(ours.prefix)]
    return any(expiry.days is None or expiry.days < ours.days for ours in touched)


def _in_words(rule: Rule) -> str:
    place = rule.rule_filter.prefix if rule.rule_filter and rule.rule_filter.prefix else "everything"
    does = "neither deletes nor ends uploads"
    if rule.abort_incomplete_multipart_upload:
        does = f"ends unfinished uploads after {rule.abort_incomplete_multipart_upload.days_after_initiation} d"
    elif rule.expiration:
        does = f"deletes after {rule.expiration.days} d" if rule.expiration.days else "deletes by date"
    state = "" if rule.status == ENABLED else ", switched off"
    return f"rule {rule.rule_id}: {place}, {does}{state}"


def _lets_anyone(policy: str) -> bool:
    """A statement that allows something to everybody; one with conditions counts, since we do not weigh them."""
    statements = json.loads(policy).get("Statement") or []
    for statement in statements if isinstance(statements, list) else [statements]:
        who = statement.get("Principal")
        named = who.values() if isinstance(who, dict) else [who]
        everyone = any(name == "*" or (isinstance(name, list) and "*" in name) for name in named)
        if statement.get("Effect") == "Allow" and everyone:
            return True
    return False


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except S3Error:
        return False
    return True
