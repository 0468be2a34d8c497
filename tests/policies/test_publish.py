from datetime import timedelta

import msgspec
import pytest

from policies.load import load_policies
from policies.publish import in_words, iso, lifecycle_rules, published, rules_digest


def test_each_prefix_that_goes_by_its_minute_has_a_rule_longer_than_any_promise_in_it():
    policies = load_policies()
    days = {rule.prefix: rule.days for rule in lifecycle_rules(policies)}
    assert days == {"img/1d/": 1, "img/2d/": 2, "img/8d/": 8, "img/31d/": 31, "training/366d/": 366}


def test_the_public_policy_names_every_class_and_its_end():
    policies = load_policies()
    by_name = {kept.name: kept for kept in published(policies).classes}
    assert set(by_name) == set(policies.retention.classes.by_name())
    assert by_name["moderation_prompt"].kept == "30 days"
    assert by_name["output_image"].kept == "until the minute its caller chose"


def test_the_public_policy_is_json_with_iso_durations():
    shown = msgspec.json.decode(msgspec.json.encode(published(load_policies())))
    anonymous = shown["plans"]["anonymous"]
    allowance = anonymous.pop("allowance")
    assert anonymous == {
        "default": "PT1H", "maximum": "P1D", "default_backstop_days": 1, "maximum_backstop_days": 2,
    }  # fmt: skip
    assert (allowance["images_per_minute"], allowance["concurrent_jobs"], allowance["max_steps"]) == (20, 10, 50)
    assert [change["version"] for change in shown["history"]["retention"]["changes"]] == [6, 5, 4, 3, 2, 1]
    assert shown["history"]["plans"]["version"] == 3


def test_the_digest_of_the_rules_knows_no_order_and_every_number():
    rules = lifecycle_rules(load_policies())
    assert rules_digest(rules[::-1]) == rules_digest(rules)
    assert rules_digest([*rules[1:], msgspec.structs.replace(rules[0], days=3)]) != rules_digest(rules)


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(hours=1), "1 hour"),
        (timedelta(days=30), "30 days"),
        (timedelta(days=1, hours=2, minutes=5), "1 day 2 hours 5 minutes"),
        (timedelta(seconds=30), "30 seconds"),
        (timedelta(), "0 seconds"),
    ],
)
def test_a_duration_in_words(duration: timedelta, words: str):
    assert in_words(duration) == words
    assert msgspec.convert(iso(duration), timedelta) == duration
