"""A prompt as it can be read: as it stands, and without what makes one word look like another.

Pure: text in, views out. Which words count in which of them is `words.py`'s. The model is given the prompt as it came.
The views, each made from the one before: 1 as it stands · 2 in plain characters, without marks and what cannot be seen
· 3 look-alikes as Latin, and as Cyrillic where a word has some · 4 digits and signs read as letters · 5 without what
stands between letters; and 6 all of that backwards, where something turned the direction of writing.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

from decancer_py import parse
from msgspec import Struct

# which terms count in a view; parts of words do in joined ones, and terms without double letters in stretched ones
Counting = Literal["all", "latin", "cyrillic", "joined", "stretched"]

_INVISIBLE = {"Cf", "Cc", "Mn", "Me", "Cs", "Co", "Cn"}
_BLANK = {"Zs", "Zl", "Zp"}
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
_TURNED = re.compile("\u202e([^\u202c\n]*)\u202c?")
_BETWEEN = re.compile(r"[\s_\-.,;:!?'\"/\\()\[\]{}<>~*+=#&^%`|@$…–—・、。，]+")
_WORDS = re.compile(r"\S+")
_INSIDE = re.compile(r"(?<=[^\W_])[^\w\s]+(?=[^\W_])|(?<=[^\W_])_+(?=[^\W_])")
_SPELLED = re.compile(r"(?<![^\W_])[^\W_](?:[\W_]+[^\W_](?![^\W_])){2,}")
_SEPARATED = re.compile(r"[\W_]+")
_STRETCHED = re.compile(r"(.)\1{2,}")
_REPEATED = re.compile(r"(.)\1+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_LEET = re.compile(r"[013457@$!|€]")
_AS_LETTERS = str.maketrans("03457@$€", "oeastase")
_AS_CYRILLIC = str.maketrans("abcehkmoptxyi3", "авсенкмортхуіз")
_STANDS_FOR = ("i", "l")  # 1, ! and |


class View(Struct, frozen=True):
    text: str
    counting: Counting

    def __repr__(self) -> str:
        return f"<view:{self.counting}:{len(self.text)}>"


def views_of(text: str) -> list[View]:
    """Each different one once: an ordinary prompt has one."""
    views: dict[str, View] = {}
    for view in _all_views(text):
        if view.text:
            views.setdefault(view.text, view)
    return list(views.values())


def plain(text: str) -> str:
    """View 2, and how terms are written in lists: lower case, plain characters, one blank between words."""
    return _spaced(_visible(text))


def meant(text: str) -> str:
    """View 3: as a reader of Latin letters sees it, for what judges meaning."""
    return _as_latin(_visible(text))


def undoubled(text: str) -> str:
    """Each letter once where it is repeated: how a word and its stretched spelling are alike."""
    return _REPEATED.sub(r"\1", text)


def _all_views(text: str) -> Iterator[View]:
    yield View(_spaced(text.casefold()), "all")
    yield from _views_one_way(_visible(text))
    if _DIRECTIONS.search(text):
        for turned in (_TURNED.sub(lambda run: run[1][::-1], text), text[::-1]):
            yield from _views_one_way(_visible(turned))


def _views_one_way(visible: str) -> Iterator[View]:
    yield View(_spaced(visible), "all")
    latin = _as_latin(visible)
    yield View(_spaced(latin), "latin")
    if _CYRILLIC.search(visible):
        yield View(_spaced(_as_cyrillic(visible)), "cyrillic")
    if stretched := [word for word in _WORDS.findall(latin) if _STRETCHED.search(word)]:
        yield View(_spaced(undoubled(" ".join(stretched))), "stretched")
    for lettered in _as_letters(latin):
        yield View(_spaced(lettered), "latin")
        whole = _INSIDE.sub("", lettered)
        yield View(_spaced(whole), "latin")
        for joined in _as_letters(" ".join(_SEPARATED.sub("", run) for run in _SPELLED.findall(whole))):
            yield View(joined, "joined")


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.lower()
    composed = unicodedata.normalize("NFKC", text)
    table = {ord(character): replaced for character in set(composed) if (replaced := _shown(character)) is not None}
    return unicodedata.normalize("NFKC", composed.translate(table)).casefold()


def _shown(character: str) -> str | None:
    """None as it is."""
    if character.isspace():
        return " "
    kind = unicodedata.category(character)
    return "" if kind in _INVISIBLE else " " if kind in _BLANK else None


def _as_latin(visible: str) -> str:
    """Look-alikes are known to a library; it misses letters that it has not seen with an accent."""
    return visible if visible.isascii() else str(parse(_ACCENTS.sub("", unicodedata.normalize("NFKD", visible))))


def _as_cyrillic(visible: str) -> str:
    """Only words that have a Cyrillic letter: their Latin ones are meant as Cyrillic."""

    def read(word: re.Match[str]) -> str:
        return word[0].translate(_AS_CYRILLIC) if _CYRILLIC.search(word[0]) else word[0]

    return _WORDS.sub(read, visible)


def _as_letters(latin: str) -> Iterator[str]:
    """View 4, once for each letter that a stroke stands for; and what is stretched as if it were not."""
    readings = [latin]
    if _LEET.search(latin):
        readings = [
            _WORDS.sub(lambda word, stroke=stroke: _read_word(word[0], stroke), latin) for stroke in _STANDS_FOR
        ]
    for reading in readings:
        yield reading
        if _STRETCHED.search(reading):
            yield _STRETCHED.sub(r"\1", reading)


def _read_word(word: str, stroke: str) -> str:
    """A number is a number; a sign after a word ends a sentence."""
    if not any(character.isalpha() for character in word):
        return word
    body = word.rstrip("!|.,;:?")
    strokes = str.maketrans(dict.fromkeys("1!|", stroke))
    return body.translate(_AS_LETTERS).translate(strokes) + word[len(body) :]


def _spaced(text: str) -> str:
    return _BETWEEN.sub(" ", text).strip()
