"""Long texts in pieces."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from edge.domain.moderation.pieces import PIECE_CHARS, SHARED_CHARS, pieces_of

words = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=9))


@given(words)
def test_no_phrase_up_to_the_shared_length_is_cut(text: list[str]):
    whole = " ".join(" ".join(text).split())
    pieces = pieces_of(whole)
    for start in range(max(1, len(whole) - SHARED_CHARS + 1)):
        assert any(whole[start : start + SHARED_CHARS] in piece for piece in pieces) or not whole


@given(words)
def test_no_piece_is_longer_than_the_model_reads_or_adds_nothing(text: list[str]):
    pieces = pieces_of(" ".join(text))
    assert all(len(piece) <= PIECE_CHARS for piece in pieces)
    assert all(len(piece) > SHARED_CHARS for piece in pieces[1:])


def test_a_blank_text_has_none():
    assert pieces_of("") == pieces_of(" \n\t\u2003") == []


def test_white_space_pulls_no_phrase_apart():
    assert pieces_of("a red" + " \n" * 400 + "apple") == ["a red apple"]


def test_a_character_is_taken_apart_into_three_at_most_that_are_read():
    def parts(character: str) -> int:
        return sum(unicodedata.category(part) != "Mn" for part in unicodedata.normalize("NFD", character))

    assert max(parts(chr(number)) for number in range(0x110000) if not 0xD800 <= number < 0xE000) <= 3
