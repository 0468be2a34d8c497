"""What `moderation.toml` may not say."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from policies.load import PolicyError, load_policies
from policies.moderation import AgeAssurance, ModerationPolicy
from policies.moderation_check import NEVER_ON, moderation_contradictions
from policies.presets import FILES
from policies.publish import refused
from policies.schema import Policies

Edit = Callable[[str, str], str]
SHIPPED = load_policies().moderation
PLANS = {"anonymous", "account", "pro"}


@pytest.fixture
def error_after(tmp_path: Path) -> Edit:
    """Of the shipped files with one replacement in `moderation.toml`."""
    for name in FILES:
        (tmp_path / name).write_text((resources.files("policies") / name).read_text("utf-8"), "utf-8")

    def edit(old: str, new: str) -> str:
        file = tmp_path / "moderation.toml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")
        with pytest.raises(PolicyError) as caught:
            load_policies(tmp_path)
        return str(caught.value)

    return edit


def with_action(category: str, action: str, assured: AgeAssurance | None = None) -> ModerationPolicy:
    changed = msgspec.structs.replace(SHIPPED.categories[category], action=action)
    return msgspec.structs.replace(
        SHIPPED, categories=SHIPPED.categories | {category: changed}, age_assurance=assured or SHIPPED.age_assurance
    )


def said(policy: ModerationPolicy) -> str:
    return "\n".join(moderation_contradictions(policy, PLANS))


def test_the_shipped_file_says_nothing_that_it_may_not():
    assert said(SHIPPED) == ""
    assert all(category.action == "block" for category in SHIPPED.categories.values()), "adult content is off"


@pytest.mark.parametrize("category", NEVER_ON)
@pytest.mark.parametrize("action", ["allow", "adults_only"])
def test_what_the_law_forbids_cannot_be_switched_on(category: str, action: str):
    assured = AgeAssurance(how="by post", plans=["pro"])
    assert f"$.categories.{category}.action: this cannot be switched on" in said(with_action(category, action, assured))


@pytest.mark.parametrize("category", [*NEVER_ON, "sexual"])
def test_what_must_be_judged_cannot_be_left_out(category: str):
    left = {name: each for name, each in SHIPPED.categories.items() if name != category}
    assert f"`{category}` is missing" in said(msgspec.structs.replace(SHIPPED, categories=left))


def test_adult_content_needs_to_know_who_is_one():
    assert "$.age_assurance: missing" in said(with_action("sexual", "adults_only"))
    assert said(with_action("sexual", "adults_only", AgeAssurance(how="by post", plans=["pro"]))) == ""
    assert "$.categories.sexual.action" in said(with_action("sexual", "allow"))


def test_nobody_is_an_adult_without_an_account_or_by_a_plan_that_is_not_there():
    problems = said(with_action("sexual", "adults_only", AgeAssurance(how="by post", plans=["anonymous", "gold"])))
    assert "nobody knows the age of callers without an account" in problems
    assert "plans.toml has no `gold`" in problems


def test_nothing_else_is_for_adults_alone():
    assured = AgeAssurance(how="by post", plans=["pro"])
    assert "only `sexual` can be" in said(with_action("hate", "adults_only", assured))
    assert said(with_action("hate", "allow")) == ""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('action = "block" # the code', 'action = "allow" # the code', "$.categories.sexual_minors.action"),
        ("threshold = 0.58", "threshold = 1.2", "$.categories"),
        ('all_of = [["minors_sexualised"]]', 'all_of = [["adults"]]', "the list `adults`, which is not there"),
        ('all_of = [["minors_sexualised"]]', 'all_of = [["minors_sexualised"]], unless = ["art"]', "nothing excuses"),
        ('id = "minors-explicit"', 'id = "minors-nudity"', "the rule `minors-nudity` is there twice"),
        ('"child", ', '"child", "", ', "$.lists"),
        ('"child", ', '"child", "two  blanks", ', "$.lists"),
        ("ages_below = 18", "ages_bellow = 18", "ages_bellow"),
        ("version = 1", "version = 2", "`version` is 2"),
    ],
)
def test_each_mistake_is_named_by_place(error_after: Edit, old: str, new: str, problem: str):
    error = error_after(old, new)
    assert error.startswith("moderation.toml: ")
    assert problem in error


def test_what_is_published_names_categories_and_no_word():
    policies = load_policies()
    text = str(refused(policies))
    assert [each.title for each in refused(policies)] == [each.title for each in SHIPPED.categories.values()]
    for_adults = Policies(policies.retention, policies.plans, policies.models, with_action("sexual", "adults_only"))
    assert "known to be adults" not in text
    assert {each.whom for each in refused(for_adults)} == {
        "for nobody",
        "only for callers whom the operator knows to be adults",
    }
