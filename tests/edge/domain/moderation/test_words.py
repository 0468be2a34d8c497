import pytest

from edge.domain.moderation.words import Words
from policies.moderation import WordList

WORDS = Words(
    {
        "fruit": WordList(
            latin=["apple", "pear*", "red currant"], cyrillic=["яблок*"], cjk=["りんご"], anywhere=["pineapple"]
        ),
        "tree": WordList(latin=["oak", "ash"]),
        "young": WordList(ages_below=18),
    },
    WordList(latin=["apple pie", "big apple"]),
)


@pytest.mark.parametrize(
    "text", ["an apple", "APPLE.", "(apple)", "1apple", "apple2", "pears", "red-currant", "a p p l e", "4ppl3"]
)
def test_whole_words_count(text: str):
    assert WORDS.found_in(text) == {"fruit"}


@pytest.mark.parametrize("text", ["applesauce", "crabapple", "washing", "cashier", "oakley", "currant", "спаржа"])
def test_parts_of_words_do_not(text: str):
    assert WORDS.found_in(text) == set()


def test_words_that_terms_fill_entirely_are_those_terms():
    assert WORDS.found_in("appleoak") == {"fruit", "tree"}
    assert WORDS.found_in("appleoakx") == set()


def test_stretched_words_count_double_letters_or_not():
    assert WORDS.found_in("an aaapppleeee") == {"fruit"}
    assert WORDS.found_in("aple") == set(), "but a misspelling is none"


def test_long_and_plain_ones_count_inside_other_words():
    assert WORDS.found_in("xxpineapplexx") == {"fruit"}


def test_scripts_without_spaces_count_anywhere():
    assert WORDS.found_in("赤いりんごの絵") == {"fruit"}


def test_a_script_s_terms_count_in_its_own_views():
    assert WORDS.found_in("зелёное яблоко") == {"fruit"}
    assert WORDS.found_in("зелёное яблoкo") == {"fruit"}, "with Latin letters in it"


def test_no_word_counts_in_a_harmless_phrase():
    assert WORDS.found_in("an apple pie in the big apple") == set()
    assert WORDS.found_in("an apple and an apple pie") == {"fruit"}


@pytest.mark.parametrize(
    "text", ["5 years old", "a 17-year-old", "twelve year old", "aged 9", "13yo", "5 y.o.", "8 ans"]
)
def test_ages_below_the_bound_count(text: str):
    assert WORDS.found_in(text) == {"young"}


@pytest.mark.parametrize("text", ["18 years old", "a 35-year-old", "150 years old", "5 apples old", "year 5"])
def test_other_ages_do_not(text: str):
    assert "young" not in WORDS.found_in(text)
