"""Which lists of `moderation.toml` have a word in a prompt: one pass of Aho and Corasick over each of its views.

Answers names of lists. What follows from them is `judge.py`'s.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ahocorasick_rs import AhoCorasick
from msgspec import Struct

from edge.domain.moderation.views import Counting, View, meant, plain, undoubled, views_of
from policies.moderation import SCRIPTS, Script, WordList

HARMLESS = ""  # the list of phrases in which no word counts
ANYWHERE = "anywhere"
UNDOUBLED = "undoubled"  # how a stretched word is looked for, where that is another spelling
JOINED_CHARACTERS = 4  # of a word that counts inside letters that were spelled one by one
UNACCENTED_CHARACTERS = 5
COUNTED: dict[Counting, tuple[str, ...]] = {
    "all": (*SCRIPTS, ANYWHERE),
    "latin": ("latin", ANYWHERE),
    "joined": (*SCRIPTS, ANYWHERE),
    "cyrillic": ("cyrillic", ANYWHERE),
    "stretched": ("latin", UNDOUBLED),
}
ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen".split()
)


class Term(Struct, frozen=True):
    """`is_open`: what begins so counts too."""

    in_list: str
    script: Script | str
    is_open: bool


class Match(Struct, frozen=True):
    start: int
    end: int
    terms: Sequence[Term]


class Words:
    def __init__(self, lists: Mapping[str, WordList], harmless: WordList) -> None:
        terms = defaultdict[str, list[Term]](list)
        for name, words in {**lists, HARMLESS: harmless}.items():
            for spelled, term in _terms(name, words):
                terms[spelled].append(term)
        self._terms = list(terms.values())
        self._automaton = AhoCorasick(list(terms))

    def found_in(self, text: str) -> set[str]:
        """Names of the lists that have a word in it."""
        found = set[str]()
        for view in views_of(text):
            found |= self._found(view)
        return found

    def _found(self, view: View) -> set[str]:
        text = view.text
        hits = self._automaton.find_matches_as_indexes(text, overlapping=True)
        matches = [Match(start, end, self._terms[pattern]) for pattern, start, end in hits]
        counted = list(_counted(matches, view))
        excused = [(match.start, match.end) for match, term in counted if term.in_list == HARMLESS]
        return {
            term.in_list
            for match, term in counted
            if term.in_list != HARMLESS and not any(s <= match.start and match.end <= e for s, e in excused)
        }


def _terms(name: str, words: WordList) -> Iterator[tuple[str, Term]]:
    for script in SCRIPTS:
        spelled: Sequence[str] = getattr(words, script)
        for text in spelled:
            term = Term(name, script, text.endswith("*"))
            for spelled_so in _spellings(plain(text.removesuffix("*")), script):
                yield spelled_so, term
                if script == "latin" and (single := undoubled(spelled_so)) != spelled_so:
                    yield single, Term(name, UNDOUBLED, term.is_open)
    for text in words.anywhere:
        yield plain(text), Term(name, ANYWHERE, is_open=True)
    if words.ages_below is not None:
        for text in _ages(words.ages_below):
            yield text, Term(name, "latin", is_open=False)


def _spellings(text: str, script: Script) -> set[str]:
    """As it stands, without blanks; and without accents where that makes no other word, as it does of short ones."""
    unaccented = {meant(text)} if script == "latin" and len(text) >= UNACCENTED_CHARACTERS else set[str]()
    return {spelled.replace(" ", between) for spelled in {text, *unaccented} for between in (" ", "")}


def _ages(below: int) -> Iterator[str]:
    for age in range(1, below):
        spelled = [str(age), *([ONES[age - 1]] if age <= len(ONES) else [])]
        for number in spelled:
            yield from (f"{number} year old", f"{number} years old", f"{number} yr old", f"aged {number}")
        yield from (f"{age} yo", f"{age}yo", f"{age} y o", f"{age}yrs old", f"{age} yrs old")
        yield from (f"{age} años", f"{age} ans", f"{age} jahre alt", f"{age} anni", f"{age} anos")


def _counted(matches: Sequence[Match], view: View) -> Iterator[tuple[Match, Term]]:
    """Whole words, and words that others fill entirely: `onetwo` is one and two."""
    begins, ends = _edges(matches, view.text)
    for match in matches:
        for term in match.terms:
            if term.script not in COUNTED[view.counting]:
                continue
            is_long = match.end - match.start >= JOINED_CHARACTERS
            if (
                term.script in (ANYWHERE, "cjk")
                or (view.counting == "joined" and is_long)
                or (match.start in begins and (term.is_open or match.end in ends))
            ):
                yield match, term


def _edges(matches: Sequence[Match], text: str) -> tuple[set[int], set[int]]:
    """Where a word may begin, and where it may end: at its borders, and where another term ends or begins that does."""
    begins = {match.start for match in matches if _is_border(text, match.start)}
    ends = {match.end for match in matches if _is_border(text, match.end)}
    if len(begins) + len(ends) == 0:
        return begins, ends
    for match in sorted(matches, key=lambda each: each.start):
        if match.start in begins and match.end - match.start >= JOINED_CHARACTERS - 1:
            begins.add(match.end)
    for match in sorted(matches, key=lambda each: -each.end):
        if match.end in ends and match.end - match.start >= JOINED_CHARACTERS - 1:
            ends.add(match.start)
    return begins, ends


def _is_border(text: str, place: int) -> bool:
    """Between a letter and a digit is one too."""
    if place in (0, len(text)):
        return True
    before, after = text[place - 1], text[place]
    return not (_is_letter(before) and _is_letter(after)) and not (before.isdigit() and after.isdigit())


def _is_letter(character: str) -> bool:
    return character.isalpha() or unicodedata.category(character) in ("Mc", "Mn")
