"""The shape of `moderation.toml`: what may not be made, by categories, rules and lists of words, all of it data.

Knows what the file may say. Whether it holds together is `moderation_check.py`'s, and how a prompt is read the edge's.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from policies.dated import Dated, Name, Text

Action = Literal["block", "adults_only", "allow"]
Script = Literal["latin", "cyrillic", "cjk", "other"]
Similarity = Annotated[float, Meta(gt=0, le=1)]
Term = Annotated[str, Meta(pattern=r"^[^\s*]+( [^\s*]+)*\*?$")]  # words; with `*`, all that begins so

SCRIPTS: tuple[Script, ...] = ("latin", "cyrillic", "cjk", "other")


class WordList(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Words for one idea, by script. They count as whole words; those in `cjk`, where no spaces stand, anywhere.

    `anywhere`: long and plain enough to count inside other words, once all that stands between letters is gone.
    `ages_below`: ages as people write them count too, up to this one.
    """

    latin: list[Term] = []
    cyrillic: list[Term] = []
    cjk: list[Term] = []
    other: list[Term] = []
    anywhere: list[Annotated[Term, Meta(min_length=5)]] = []
    ages_below: Annotated[int, Meta(ge=2, le=99)] | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Holds where of each of `all_of` one list has a word in the prompt, and of `unless` none has.

    `negative`: and one of these lists has a word in the negative prompt, which is where people say what shall not be.
    """

    id: Name
    all_of: Annotated[list[Annotated[list[Name], Meta(min_length=1)]], Meta(min_length=1)]
    unless: list[Name] = []
    negative: list[Name] = []


class Category(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is judged together. `shown_as` is its name in OpenAI's shape; `title` is for people.

    A prompt that comes as close as `threshold` (cosine similarity) to one of `exemplars`, which describe and never
    depict, is of this category. `negative_threshold` is that of negative prompts, which otherwise are not compared.
    """

    title: Text
    shown_as: Text
    action: Action
    threshold: Similarity
    negative_threshold: Similarity | None = None
    exemplars: Annotated[list[Text], Meta(min_length=1)]
    rules: list[Rule] = []


class AgeAssurance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`how` the operator knows that callers of these plans are adults."""

    how: Text
    plans: Annotated[list[Name], Meta(min_length=1)]


class ImagePolicy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a picture is checked for by the replica that made it.

    `threshold`: how sure the classifier is, from 0 to 1, that it shows what `category` is about. `listed_bits`: in how
    many of 256 bits it may differ from one of the operator's list (PDQ) and still be taken for it.
    """

    category: Name
    threshold: Similarity
    listed_bits: Annotated[int, Meta(ge=0, le=64)]


class ModerationPolicy(Dated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`moderation.toml`. Of several categories that a prompt is of, the first in the file is answered.

    `harmless`: phrases in which no word counts.
    """

    categories: Annotated[dict[Name, Category], Meta(min_length=1)]
    images: ImagePolicy
    lists: Annotated[dict[Name, WordList], Meta(min_length=1)]
    harmless: WordList = WordList()
    age_assurance: AgeAssurance | None = None
