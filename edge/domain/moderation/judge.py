"""May this be made? What a prompt and its negative prompt say, by words first and then by meaning.

Answers a finding or none. What becomes of it is the gate's (`edge.guards.moderation`). Nothing of a prompt is kept or
shared between callers. Fails closed: a check that does not answer, answers late or answers nonsense lets nothing pass.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Protocol, TypeVar

from msgspec import Struct

from edge.domain.moderation.views import meant
from edge.domain.moderation.words import Words
from edge.errors import ModerationUnavailable
from policies.moderation import Category, ModerationPolicy, Rule
from serve_app.contract import Prompt

T = TypeVar("T")
BY_MEANING = "meaning"  # the rule of a category that words did not find
CERTAIN = 1.0
SLOW_S = 5.0  # some hundred times what a prompt takes; a process that has just started takes longer
LONG_CHARACTERS = 2_000  # some milliseconds of reading


class Meanings(Protocol):
    """How close each text comes to the exemplars of each category, by cosine similarity; of a long one, its closest
    part. Raises ModerationUnavailable, at the deadline too."""

    async def scores(self, texts: Sequence[str], *, deadline_s: float) -> list[dict[str, float]]: ...


class Finding(Struct, frozen=True):
    """Of which category a prompt is, and by which rule."""

    category: str
    rule: str


class Judge:
    """`meanings`: None where only words are judged."""

    def __init__(self, policy: ModerationPolicy, meanings: Meanings | None) -> None:
        self._policy = policy
        self._meanings = meanings
        self._words = Words(policy.lists, policy.harmless)

    async def find(self, prompt: Prompt, *, is_adult: bool) -> Finding | None:
        """Why this may not be made for this caller; None where it may. Raises ModerationUnavailable."""
        blocking = {name: each for name, each in self._policy.categories.items() if blocks(each, is_adult=is_adult)}
        if found := await _aside(len(prompt.text) + len(prompt.negative), partial(self.find_words, prompt, blocking)):
            return found
        if self._meanings is None:
            return None
        positive, *negative = await self._scored([text for text in (prompt.text, prompt.negative) if text])
        for name, category in blocking.items():
            if positive[name] >= category.threshold or any(
                scores[name] >= category.negative_threshold for scores in negative if category.negative_threshold
            ):
                return Finding(name, BY_MEANING)
        return None

    def find_words(self, prompt: Prompt, categories: Mapping[str, Category] | None = None) -> Finding | None:
        """By words alone: the first of `categories`, of all where none are named."""
        named = self._words.found_in(prompt.text)
        negative = self._words.found_in(prompt.negative) if prompt.negative else set[str]()
        found = _holding(self._policy.categories if categories is None else categories, named, negative)
        return next(found, None)

    async def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Of each text and category: 1 where words say so, and else how close its meaning comes. Raises
        ModerationUnavailable."""
        return [await self._scores_of(text) for text in texts]

    async def _scores_of(self, text: str) -> dict[str, float]:
        named = await _aside(len(text), partial(self._words.found_in, text))
        said = {found.category for found in _holding(self._policy.categories, named, set())}
        scores = {name: CERTAIN if name in said else 0.0 for name in self._policy.categories}
        if self._meanings is not None:
            [close] = await self._scored([text])
            scores = {name: max(score, close[name]) for name, score in scores.items()}
        return scores

    async def _scored(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """By meaning, as a reader of Latin letters sees them."""
        if self._meanings is None:
            return []
        try:
            async with asyncio.timeout(SLOW_S):
                scored = await self._meanings.scores([meant(text) for text in texts], deadline_s=SLOW_S)
        except TimeoutError:
            raise ModerationUnavailable from None
        if len(scored) != len(texts) or not all(map(self._makes_sense, scored)):
            raise ModerationUnavailable
        return scored

    def _makes_sense(self, scores: Mapping[str, float]) -> bool:
        return all(
            name in scores and isfinite(scores[name]) and -1.001 <= scores[name] <= 1.001
            for name in self._policy.categories
        )


def blocks(category: Category, *, is_adult: bool) -> bool:
    return category.action == "block" or (category.action == "adults_only" and not is_adult)


def _holding(categories: Mapping[str, Category], named: set[str], negative: set[str]) -> Iterator[Finding]:
    """The first rule of each category that holds."""
    for name, category in categories.items():
        for rule in category.rules:
            if _holds(rule, named, negative):
                yield Finding(name, rule.id)
                break


def _holds(rule: Rule, named: set[str], negative: set[str]) -> bool:
    return (
        all(not named.isdisjoint(either) for either in rule.all_of)
        and named.isdisjoint(rule.unless)
        and (not rule.negative or not negative.isdisjoint(rule.negative))
    )


async def _aside(characters: int, read: Callable[[], T]) -> T:
    """In a thread where it takes long enough for others to notice."""
    return read() if characters <= LONG_CHARACTERS else await asyncio.to_thread(read)
