"""`sfumato moderation`: how well the rules in force judge prompts. `moderation_desk.py` is for who objects."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cluster.scoring import HARMLESS, Labelled, LabelledFileError, Score, read_labelled, scored
from cluster.terminal import one_line
from edge.domain.moderation.judge import Judge
from edge.domain.moderation.semantics import Semantics
from edge.errors import ModerationUnavailable
from policies.load import PolicyError, load_policies
from policies.moderation import ModerationPolicy
from serve_app.contract import Prompt

moderation = App(
    name="moderation", help="What may not be made: how well the rules judge, who objects, what is reported."
)
for command in ("queue", "show", "decide"):
    moderation.command(f"cluster.moderation_desk:{command}", name=command)  # by name: loaded when it is used


@moderation.command(name="test")
def score(file: Path, /, *, words: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Score the rules of SFUMATO_POLICIES on labelled prompts: precision and recall by category, with 95 % intervals.

    Parameters
    ----------
    file
        JSON lines `{"text": …, "label": …}`; a label is a category of `moderation.toml`, or `harmless`.
    words
        By words alone, not by meaning.
    """
    place = os.environ.get("SFUMATO_POLICIES")
    with one_line(PolicyError, LabelledFileError, ModerationUnavailable):
        policy = load_policies(Path(place) if place else None).moderation
        labelled = read_labelled(file, list(policy.categories))
        found = asyncio.run(_judged(policy, labelled, by_meaning=not words))
    scores = scored([each.label for each in labelled], found)
    print("\n".join(_line(name, score) for name, score in scores.items()))  # noqa: T201  its answer


async def _judged(policy: ModerationPolicy, labelled: Sequence[Labelled], *, by_meaning: bool) -> list[str]:
    """As a caller without an account is judged. Raises ModerationUnavailable."""
    exemplars = {name: category.exemplars for name, category in policy.categories.items()}
    async with Semantics(exemplars) if by_meaning else nullcontext() as meanings:
        judge = Judge(policy, meanings)
        found = [await judge.find(Prompt(each.text), is_adult=False) for each in labelled]
    return [finding.category if finding else HARMLESS for finding in found]


def _line(name: str, score: Score) -> str:
    return f"{name}: precision {score.precision}, recall {score.recall}"
