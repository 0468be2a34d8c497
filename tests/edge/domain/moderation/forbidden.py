"""Prompts that may not be made, put together from the policy's own lists when a test runs: none is written down."""

from policies.load import load_policies
from policies.moderation import ModerationPolicy

POLICY: ModerationPolicy = load_policies().moderation


def term(word_list: str, place: int = 0) -> str:
    """A Latin word of that list."""
    return POLICY.lists[word_list].latin[place]


def gravest() -> str:
    """Of the gravest category, by two words that are harmless each alone."""
    return f"{term('minors')} {term('nudity')}"


def adult() -> str:
    return term("explicit")
