"""What changes between two public policies, and which way it goes."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from policies.diff import differences, mistakes, read_published
from policies.load import PolicyError, load_policies
from policies.publish import PublishedClass, published
from policies.schema import Erasure

Edited = Callable[..., Path]
SHIPPED_FILES = Path(str(resources.files("policies")))
SHIPPED = published(load_policies())

RETENTION = [
    ('kept_for = "P30D"', 'kept_for = "P60D"', "loosens", "moderation_prompt is kept 60 days instead of 30 days"),
    ('kept_for = "P30D"', 'kept_for = "P7D"', "tightens", "moderation_prompt is kept 7 days instead of 30 days"),
    ('readers = "nobody"', 'readers = "us"', "loosens", "waiting_prompt can be read by us; until now by nobody"),
    ('readers = "its owner"', 'readers = "nobody"', "tightens", "job_events can be read by nobody"),
    ('ground = "contract"', 'ground = "consent"', "tightens", "output_image rests on consent"),
    ('ground = "contract"', 'ground = "legitimate interest"', "loosens", "output_image rests on legitimate"),
    ('why = "to deliver it"', 'why = "to look at it"', "loosens", "output_image is kept to look at it"),
    ('what = "The picture', 'what = "The best picture', "loosens", "output_image is The best picture"),
    ('counted_from = "storing"', 'counted_from = "a look"', "loosens", "output_image counts from a look"),
    ('ends_by = "the end of the job"', 'ends_by = "hand"', "loosens", "waiting_prompt ends by hand; until now by the"),
    ('where = "memory of', 'where = "a file of', "loosens", "waiting_prompt lies in a file of the edge"),
    ('because = "it is the', 'because = "it was the', "loosens", "erasure does not reach proofs: it was the proof"),
    ("[1, 2, 8, 31]", "[1, 8, 31]", "loosens", "removed after 2 days they remove after 8"),
    ("[1, 2, 8, 31]", "[1, 2, 4, 8, 31]", "tightens", "the store's own rules remove after 4 days"),
    ("backups_days = 31", "backups_days = 90", "loosens", "backups are gone after 90 days instead of 31"),
    ("late_after_hours = 48", "late_after_hours = 72", "loosens", "a canary is overdue after 72 hours"),
    ("up_to_days = 7", "up_to_days = 8", "tightens", "canaries watch rules of up to 8 days"),
    ('mode = "opt_out" #', 'mode = "opt_in" #', "tightens", "training is `opt_in` instead of `opt_out`"),
    ('mode = "opt_out" #', 'mode = "never" #', "tightens", "training is `never` instead of `opt_out`"),
    ('"No gallery', '"No public gallery', "loosens", "no longer promised: No gallery"),
]
PLANS = [
    ('maximum = "P1D"', 'maximum = "P2D"', "loosens", "images live at most 2 days, instead of 1 day"),
    ('default = "PT1H"', 'default = "PT30M"', "tightens", "images live 30 minutes unless told, instead of 1 hour"),
    ("images_per_day = 400", "images_per_day = 300", "loosens", "images_per_day is 300 instead of 400"),
    ("concurrent_jobs = 10", "concurrent_jobs = 12", "tightens", "concurrent_jobs is 12 instead of 10"),
]
CHANGES = [("retention", *change) for change in RETENTION] + [("plans", *change) for change in PLANS]


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """A directory of policies with texts of the shipped files replaced."""

    def write(name: str, *edits: tuple[str, str]) -> Path:
        for file in SHIPPED_FILES.glob("*.toml"):
            text = file.read_text("utf-8")
            if file.name == name:
                for old, new in edits:
                    assert old in text
                    text = text.replace(old, new, 1)
            (tmp_path / file.name).write_text(text, "utf-8")
        return tmp_path

    return write


def test_the_same_policy_changes_nothing():
    assert differences(SHIPPED, SHIPPED) == []
    assert mistakes(SHIPPED, SHIPPED) == []


@pytest.mark.parametrize(("name", "old", "new", "effect", "words"), CHANGES)
def test_each_change_is_said_with_its_direction(edited: Edited, name: str, old: str, new: str, effect: str, words: str):
    found = differences(SHIPPED, published(load_policies(edited(f"{name}.toml", (old, new)))))
    assert [each.effect for each in found if words in each.words] == [effect]
    assert {each.file for each in found} == {name}


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("does not reach it", "loses its subject", "tightens"),
        ("loses its subject", "reaches it", "tightens"),
        ("reaches it", "ends by itself", "loosens"),
        ("reaches it", "does not reach it", "loosens"),
        ("reaches it", "holds no subject", "loosens"),
        ("does not reach it", "holds no subject", "loosens"),
        ("holds no subject", "reaches it", "loosens"),
    ],
)
def test_erasure_that_reaches_less_loosens_and_so_does_any_word_about_whether_there_is_a_subject(
    old: Erasure, new: Erasure, effect: str
):
    before, after = (msgspec.structs.replace(SHIPPED.classes[0], erasure=erasure) for erasure in (old, new))
    policies = [msgspec.structs.replace(SHIPPED, classes=[kept]) for kept in (before, after)]
    assert [each.effect for each in differences(*policies)] == [effect]


def test_a_change_of_a_plan_names_its_callers(edited: Edited):
    after = published(load_policies(edited("plans.toml", ('maximum = "P1D"', 'maximum = "P2D"'))))
    assert [str(each) for each in differences(SHIPPED, after)] == [
        "loosens, for callers of the plan `anonymous`: images live at most 2 days, instead of 1 day"
    ]


def test_a_new_class_loosens_and_one_that_goes_tightens():
    fewer = msgspec.structs.replace(SHIPPED, classes=SHIPPED.classes[1:])
    [new] = differences(fewer, SHIPPED)
    assert (new.effect, new.words) == (
        "loosens", "output_image is new: The picture that was made, kept until the minute its caller chose",
    )  # fmt: skip
    [gone] = differences(SHIPPED, fewer)
    assert (gone.effect, gone.words) == ("tightens", "output_image is no longer kept")


def test_a_time_that_becomes_an_event_loosens_since_nobody_can_compare_them():
    def until(kept: PublishedClass) -> PublishedClass:
        if kept.name != "logs":
            return kept
        return msgspec.structs.replace(kept, kept="until replaced by the next", kept_for=None)

    after = msgspec.structs.replace(SHIPPED, classes=[until(kept) for kept in SHIPPED.classes])
    assert [each.effect for each in differences(SHIPPED, after)] == ["loosens"]


def test_what_loosens_is_said_first(edited: Edited):
    edits = (('kept_for = "P30D"', 'kept_for = "P7D"'), ("backups_days = 31", "backups_days = 90"))
    after = published(load_policies(edited("retention.toml", *edits)))
    assert [each.effect for each in differences(SHIPPED, after)] == ["loosens", "tightens"]


def test_loosening_without_a_line_in_the_history_of_that_file_is_a_mistake(edited: Edited):
    after = published(load_policies(edited("plans.toml", ('maximum = "P1D"', 'maximum = "P2D"'))))
    assert mistakes(SHIPPED, after) == ["plans.toml loosens a promise: raise `version` above 3 and say so in `changes`"]


def test_a_policy_from_before_there_were_limits_can_be_compared():
    plans = {name: msgspec.structs.replace(plan, allowance=None) for name, plan in SHIPPED.plans.items()}
    assert differences(msgspec.structs.replace(SHIPPED, plans=plans), SHIPPED) == []


def test_loosening_that_the_history_tells_is_none(edited: Edited):
    line = '\n[[changes]]\nversion = 4\ndate = 2026-12-01\nsummary = "Longer."\n\n[traffic.anonymous]'
    edits = (
        ('maximum = "P1D"', 'maximum = "P2D"'), ("version = 3", "version = 4"), ("\n[traffic.anonymous]", line),
    )  # fmt: skip
    after = published(load_policies(edited("plans.toml", *edits)))
    assert mistakes(SHIPPED, after) == []
    assert [each.effect for each in differences(SHIPPED, after)] == ["loosens"]


def test_history_cannot_be_rewritten():
    file = SHIPPED.history["retention"]
    newest = msgspec.structs.replace(file.changes[0], summary="Nothing of note.")
    after = msgspec.structs.replace(
        SHIPPED, history=SHIPPED.history | {"retention": msgspec.structs.replace(file, changes=[newest])}
    )
    assert mistakes(SHIPPED, after) == [
        "retention.toml: `changes` no longer says what it said of version 1: history stays as it was"
    ]


def test_the_json_that_a_service_published_can_be_compared(tmp_path: Path):
    saved = tmp_path / "retention.json"
    saved.write_bytes(msgspec.json.encode(SHIPPED))
    assert read_published(saved) == SHIPPED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", "{}"),
        ('"ground":"legitimate interest","meaning"', '"ground":"a whim","meaning"'),
        ('"kept_for":"P30D"', '"kept_for":"30 days"'),
        ('"maximum":"P1D"', '"maximum":"P"'),
        ('"maximum":"P1D"', '"maximum":"P9999999999D"'),
        ('"default":"PT1H"', '"default":"-PT1H"'),
    ],
)
def test_json_of_another_shape_is_a_policy_error(tmp_path: Path, old: str, new: str):
    saved, text = tmp_path / "retention.json", msgspec.json.encode(SHIPPED).decode()
    assert old in text
    saved.write_text(text.replace(old, new, 1))
    with pytest.raises(PolicyError, match=r"retention\.json: neither a directory"):
        read_published(saved)


def test_json_without_the_rules_of_a_store_is_a_policy_error(tmp_path: Path):
    saved = tmp_path / "retention.json"
    saved.write_bytes(msgspec.json.encode(msgspec.structs.replace(SHIPPED, backstop=[])))
    with pytest.raises(PolicyError, match=r"\$\.backstop"):
        read_published(saved)


def test_a_history_that_is_not_there_any_more_is_a_mistake():
    after = msgspec.structs.replace(SHIPPED, history={"retention": SHIPPED.history["retention"]})
    assert mistakes(SHIPPED, after) == ["plans.toml: its history is not published any more"]
