from collections.abc import Callable

import pytest

from edge.domain.moderation.views import Counting, View, meant, plain, views_of

WORDS = "a marble statue"


def texts(text: str, counting: Counting | None = None) -> list[str]:
    return [view.text for view in views_of(text) if counting in (None, view.counting)]


def test_an_ordinary_prompt_has_one_view():
    assert views_of("a red apple, on a table") == [View("a red apple on a table", "all")]


def test_each_different_view_comes_once():
    found = texts("\u202eелbat 4 0n 3lppa|\u200b!!!  d e r")
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(lambda text: text.upper(), id="capitals"),
        pytest.param(lambda text: "\u200b".join(text), id="zero-width spaces"),
        pytest.param(lambda text: "\u00ad".join(text), id="soft hyphens"),
        pytest.param(lambda text: "\u0335".join(text), id="combining strokes"),
        pytest.param(lambda text: "".join(chr(0xFEE0 + ord(c)) if c != " " else " " for c in text), id="full width"),
        pytest.param(lambda text: text.replace(" ", "\u2003"), id="wide blanks"),
        pytest.param(lambda text: text.replace(" ", "\n"), id="lines"),
        pytest.param(lambda text: text.replace(" ", "___"), id="underscores"),
        pytest.param(lambda text: "".join(chr(0x1D41A + ord(c) - 97) if c != " " else c for c in text), id="bold"),
    ],
)
def test_what_hides_words_without_changing_letters_is_gone_in_the_plain_view(disguise: Callable[[str], str]):
    assert WORDS in texts(disguise(WORDS), "all")
    assert plain(disguise(WORDS)) == WORDS


@pytest.mark.parametrize(
    "text",
    [
        "a mаrblе stаtuе",
        "ą márble śtatue",
        "α marble statue",
        "".join(f"{c}\u0301\u0316" for c in WORDS),
        "а мarble ѕtatue".replace("м", "m"),
    ],
)
def test_look_alikes_of_other_scripts_are_latin_in_the_third_view(text: str):
    assert WORDS in texts(text, "latin")
    assert meant(text) == WORDS


def test_latin_letters_in_a_cyrillic_word_are_cyrillic_in_a_view_of_its_own():
    assert "мраморная статуя" in texts("мpaмоpнaя cтатyя", "cyrillic")


@pytest.mark.parametrize("text", ["a m4rbl3 5t4tu3", "@ m@rble $t@tue!", "a marb1e statue", "a marb|e statue"])
def test_digits_and_signs_are_letters_in_the_fourth_view(text: str):
    assert any(view.endswith("marble statue") for view in texts(text, "latin"))


def test_a_number_stays_a_number_and_a_sentence_keeps_its_end():
    assert texts("455 apples in room 501!") == ["455 apples in room 501"]


def test_stretched_words_are_short_again():
    assert "a statue" in texts("a staaaatueee")
    assert "scholgirl" in texts("a schoooolgiiiirl", "stretched"), "of a double letter nobody knows that it was one"


@pytest.mark.parametrize(
    "text", ["s t a t u e", "s.t.a.t.u.e", "s-t-a-t-u-e", "s / t / a / t / u / e", "s_t_a_t_u_e", "5 t 4 t u 3"]
)
def test_letters_that_were_spelled_one_by_one_are_a_word_again(text: str):
    assert any("statue" in view.split() for view in texts(f"look: {text} here"))


def test_a_word_that_was_cut_by_signs_is_whole_again():
    assert "a marble statue" in texts("a mar-ble sta.tue")


def test_two_single_letters_are_no_word():
    assert [view for view in views_of("plan a b") if view.counting == "joined"] == []


def test_what_was_turned_around_is_read_backwards():
    assert WORDS in texts("\u202e" + WORDS[::-1])
    assert "a marble statue here" in texts("a marble \u202eeutats\u202c here")
    assert WORDS not in texts(WORDS[::-1])


def test_other_scripts_stay_as_they_are():
    for text in ("赤いりんご", "красное яблоко", "تفاحة حمراء", "लाल सेब"):
        assert texts(text)[0] == text


def test_odd_texts_have_views_too_or_none():
    for text in ("\u202e", "\u200b", "\ud800", "\U0010ffff", "a\x00b", "🙂", "!", "1!", "ﷺ" * 100, "İI", "\u0345"):
        assert all(view.text for view in views_of(text))


def test_a_view_does_not_show_its_text():
    assert "statue" not in repr(views_of(WORDS))
