"""Who is known to be an adult, and what of a picture they alone may see."""

from edge.domain.moderation.judge import blocks
from edge.domain.owner import Caller
from policies.schema import Policies


def is_adult(policies: Policies, caller: Caller) -> bool:
    """The operator knows it of a plan; of nobody without an account."""
    assured, plans = policies.moderation.age_assurance, policies.plans.plans
    if assured is None or caller.owner.kind != "account":
        return False
    return any(caller.plan is plans[name] for name in assured.plans)


def sees_all(policies: Policies, caller: Caller) -> bool:
    """Whether what the classifier of pictures looks for is on for them."""
    looked_for = policies.moderation.categories[policies.moderation.images.category]
    return not blocks(looked_for, is_adult=is_adult(policies, caller))
