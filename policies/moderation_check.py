"""What `moderation.toml` may not say, by itself and beside the other files; what the law lets nobody switch on."""

from collections import Counter
from collections.abc import Iterator

from policies.moderation import Category, ModerationPolicy

NEVER_ON = ("sexual_minors", "non_consensual")
ADULT = "sexual"  # alone may be for adults only
ANONYMOUS = "anonymous"


def moderation_contradictions(policy: ModerationPolicy, plans: set[str]) -> Iterator[str]:
    """`plans`: those that there are."""
    at = "moderation.toml: $"
    for name in (*NEVER_ON, ADULT):
        if name not in policy.categories:
            yield f"{at}.categories: `{name}` is missing, and must be judged"
    for name, category in policy.categories.items():
        yield from _category_contradictions(f"{at}.categories.{name}", name, category, policy)
    rules = Counter(rule.id for category in policy.categories.values() for rule in category.rules)
    for rule, count in rules.items():
        if count > 1:
            yield f"{at}.categories: the rule `{rule}` is there twice"
    if policy.images.category not in policy.categories:
        yield f"{at}.images.category: there is no `{policy.images.category}`"
    yield from _age_contradictions(f"{at}.age_assurance", policy, plans)


def _category_contradictions(at: str, name: str, category: Category, policy: ModerationPolicy) -> Iterator[str]:
    if name in NEVER_ON:
        if category.action != "block":
            yield f"{at}.action: this cannot be switched on: it is `block`"
        if not category.rules:
            yield f"{at}.rules: this needs rules"
        for rule in category.rules:
            if rule.unless:
                yield f"{at}.rules: `{rule.id}` may have no `unless`: nothing excuses this"
    elif category.action == "adults_only" and name != ADULT:
        yield f"{at}.action: only `{ADULT}` can be for adults alone"
    elif category.action == "allow" and name == ADULT:
        yield f"{at}.action: `block` or `adults_only`"
    for rule in category.rules:
        for named in (*(word_list for either in rule.all_of for word_list in either), *rule.unless, *rule.negative):
            if named not in policy.lists:
                yield f"{at}.rules: `{rule.id}` names the list `{named}`, which is not there"


def _age_contradictions(at: str, policy: ModerationPolicy, plans: set[str]) -> Iterator[str]:
    assured = policy.age_assurance
    if assured is None:
        if any(category.action == "adults_only" for category in policy.categories.values()):
            yield f"{at}: missing, and what is for adults only needs it"
        return
    for plan in assured.plans:
        if plan == ANONYMOUS:
            yield f"{at}.plans: nobody knows the age of callers without an account"
        elif plan not in plans:
            yield f"{at}.plans: plans.toml has no `{plan}`"
