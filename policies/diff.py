"""What changes for whom between two public policies, in plain words, and whether it loosens what was promised.

Works on what is published, so that a stranger can compare the JSON of two days as an operator compares two directories.
What nobody can compare by measure (other readers, another purpose) counts as loosened: a person must look at it.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from policies.load import PolicyError, load_policies
from policies.publish import IMAGES, FileName, Published, PublishedClass, PublishedPlan, in_words, published
from policies.schema import Erasure, TrainingMode

Effect = Literal["loosens", "tightens", "says otherwise"]
Length = TypeVar("Length", timedelta, int)
EVERYONE = "everyone"

# from what is best for a caller to what is worst; whether there is a subject at all nobody can measure
ERASURES: tuple[Erasure, ...] = ("reaches it", "ends by itself", "loses its subject", "does not reach it")
MODES: tuple[TrainingMode, ...] = ("never", "opt_in", "opt_out")
GROUNDS = ("consent", "legitimate interest")


class Difference(Struct, frozen=True):
    """One thing that changes, where it is written, and for whom."""

    effect: Effect
    file: FileName
    whom: str
    words: str

    def __str__(self) -> str:
        return f"{self.effect}, for {self.whom}: {self.words}"


def read_published(place: Path) -> Published:
    """Of a directory of policy files, or of JSON that a service published. Raises PolicyError."""
    if place.is_dir():
        return published(load_policies(place))
    try:
        return msgspec.json.decode(place.read_bytes(), type=Published)
    except (OSError, msgspec.MsgspecError) as error:
        raise PolicyError(f"{place}: neither a directory of policies nor a published policy ({error})") from error


def differences(old: Published, new: Published) -> list[Difference]:
    """What loosens first."""
    found = [*_classes(old, new), *_plans(old, new), *_training(old, new), *_store(old, new), *_sentences(old, new)]
    return sorted(found, key=lambda difference: difference.effect)


def mistakes(old: Published, new: Published) -> list[str]:
    """What no consent makes right: a loosening that the public history does not tell, a history that was rewritten."""
    return list(_mistakes(old, new))


def _mistakes(old: Published, new: Published) -> Iterator[str]:
    loosened = {difference.file for difference in differences(old, new) if difference.effect == "loosens"}
    for name, before in old.history.items():
        after = new.history.get(name)
        if after is None:
            yield f"{name}.toml: its history is not published any more"
            continue
        if name in loosened and after.version <= before.version:
            yield f"{name}.toml loosens a promise: raise `version` above {before.version} and say so in `changes`"
        if lost := [change.version for change in before.changes if change not in after.changes]:
            yield f"{name}.toml: `changes` no longer says what it said of version {min(lost)}: history stays as it was"


def _classes(old: Published, new: Published) -> Iterator[Difference]:
    before = {kept.name: kept for kept in old.classes}
    after = {kept.name: kept for kept in new.classes}
    for name, kept in after.items():
        if name not in before:
            yield _said("loosens", f"{name} is new: {kept.what}, kept {kept.kept}")
        else:
            yield from _class(before[name], kept)
    for name in sorted(before.keys() - after.keys()):
        yield _said("tightens", f"{name} is no longer kept")


def _class(old: PublishedClass, new: PublishedClass) -> Iterator[Difference]:
    def said(effect: Effect, words: str) -> Difference:
        return _said(effect, f"{new.name} {words}")

    if old.kept_for is not None and new.kept_for is not None:
        if effect := _longer_loosens(_duration(old.kept_for), _duration(new.kept_for)):
            yield said(effect, f"is kept {new.kept} instead of {old.kept}")
    elif old.kept != new.kept:
        yield said("loosens", f"is kept {new.kept} instead of {old.kept}")
    if (old.erasure, old.because) != (new.erasure, new.because):
        yield _said(_erasure_loosens(old.erasure, new.erasure), _erasure(new))
    if old.readers != new.readers:
        effect = "tightens" if new.readers == "nobody" else "loosens"
        yield said(effect, f"can be read by {new.readers}; until now by {old.readers}")
    if old.ground != new.ground:
        effect = "tightens" if new.ground == "consent" else "loosens"
        yield said(effect, f"rests on {new.ground}; until now on {old.ground}")
    if old.what != new.what:
        yield said("loosens", f"is {new.what}; until now {old.what}")
    if old.why != new.why:
        yield said("loosens", f"is kept {new.why}; until now {old.why}")
    if old.counted_from != new.counted_from:
        yield said("loosens", f"counts from {new.counted_from}; until now from {old.counted_from}")
    if old.where != new.where:
        yield said("loosens", f"lies in {new.where}; until now in {old.where}")
    if old.ends_by != new.ends_by:
        yield said("loosens", f"ends by {new.ends_by}; until now by {old.ends_by}")


def _erasure_loosens(old: Erasure, new: Erasure) -> Effect:
    """The same reach with another reason loosens too."""
    if "holds no subject" in (old, new):
        return "loosens"
    return _later_loosens(ERASURES.index, old, new) or "loosens"


def _erasure(kept: PublishedClass) -> str:
    match kept.erasure:
        case "reaches it":
            return f"erasure reaches {kept.name}"
        case "does not reach it":
            return f"erasure does not reach {kept.name}: {kept.because}"
        case "ends by itself" | "loses its subject" | "holds no subject":
            return f"erasure: {kept.name} {kept.erasure}"


def _plans(old: Published, new: Published) -> Iterator[Difference]:
    longest = max((_duration(plan.maximum) for plan in old.plans.values()), default=timedelta())
    for name, plan in new.plans.items():
        whom = f"callers of the plan `{name}`"
        if name not in old.plans:
            effect = "loosens" if _duration(plan.maximum) > longest else "says otherwise"
            words = f"the plan is new: images live {_words(plan.default)} unless told, {_words(plan.maximum)} at most"
            yield Difference(effect, "plans", whom, words)
        else:
            yield from _plan(whom, old.plans[name], plan)
    for name in sorted(old.plans.keys() - new.plans.keys()):
        yield Difference("says otherwise", "plans", f"callers of the plan `{name}`", "the plan is no longer there")


def _plan(whom: str, old: PublishedPlan, new: PublishedPlan) -> Iterator[Difference]:
    if effect := _longer_loosens(_duration(old.default), _duration(new.default)):
        words = f"images live {_words(new.default)} unless told, instead of {_words(old.default)}"
        yield Difference(effect, "plans", whom, words)
    if effect := _longer_loosens(_duration(old.maximum), _duration(new.maximum)):
        words = f"images live at most {_words(new.maximum)}, instead of {_words(old.maximum)}"
        yield Difference(effect, "plans", whom, words)
    for name, allowed in (new.allowance or {}).items():
        before = (old.allowance or {}).get(name)
        if before is not None and (effect := _longer_loosens(-before, -allowed)):
            yield Difference(effect, "plans", whom, f"{name} is {allowed} instead of {before}")


def _training(old: Published, new: Published) -> Iterator[Difference]:
    if effect := _later_loosens(MODES.index, old.training.mode, new.training.mode):
        yield _said(effect, f"training is `{new.training.mode}` instead of `{old.training.mode}`: {new.training.means}")
    elif old.training.means != new.training.means:
        yield _said("loosens", f"what the training mode means is now: {new.training.means}")
    if effect := _later_loosens(GROUNDS.index, old.training.ground, new.training.ground):
        yield _said(effect, f"training rests on {new.training.ground} instead of {old.training.ground}")


def _store(old: Published, new: Published) -> Iterator[Difference]:
    """Training copies have a rule that follows from their class, so only images' rules are compared."""
    before, after = _image_days(old), _image_days(new)
    for days in before:
        caught = next((each for each in after if each >= days), None)
        if caught is None:
            yield _said("tightens", f"nothing is stored that the store's own rules would keep {days} days")
        elif caught > days:
            yield _said("loosens", f"what the store's own rules removed after {days} days they remove after {caught}")
    for days in after:
        if days not in before and days < max(before, default=0):
            yield _said("tightens", f"the store's own rules remove after {days} days what they kept longer")
    if effect := _longer_loosens(old.backups_days, new.backups_days):
        yield _said(effect, f"backups are gone after {new.backups_days} days instead of {old.backups_days}")
    if effect := _longer_loosens(-old.canaries.up_to_days, -new.canaries.up_to_days):
        yield _said(effect, f"canaries watch rules of up to {new.canaries.up_to_days} days")
    if effect := _longer_loosens(old.canaries.late_after_hours, new.canaries.late_after_hours):
        yield _said(effect, f"a canary is overdue after {new.canaries.late_after_hours} hours")


def _sentences(old: Published, new: Published) -> Iterator[Difference]:
    for line in old.never_done:
        if line not in new.never_done:
            yield _said("loosens", f"no longer promised: {line}")
    for line in new.never_done:
        if line not in old.never_done:
            yield _said("tightens", f"now promised: {line}")
    if old.undisclosed != new.undisclosed:
        yield _said("loosens", f"about what the law sets aside: {new.undisclosed}")


def _said(effect: Effect, words: str) -> Difference:
    return Difference(effect, "retention", EVERYONE, words)


def _longer_loosens(old: Length, new: Length) -> Effect | None:
    if old == new:
        return None
    return "loosens" if new > old else "tightens"


def _later_loosens(place: Callable[[str], int], old: str, new: str) -> Effect | None:
    return _longer_loosens(place(old), place(new))


def _image_days(policy: Published) -> list[int]:
    return sorted(rule.days for rule in policy.backstop if rule.prefix.startswith(f"{IMAGES}/"))


def _duration(text: str) -> timedelta:
    return msgspec.convert(text, timedelta)


def _words(text: str) -> str:
    return in_words(_duration(text))
