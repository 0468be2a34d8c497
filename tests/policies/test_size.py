"""Sizes as policies write them."""

import pytest

from policies.size import Pixels, parse_size


def test_a_size_is_width_by_height():
    assert parse_size("256x128") == Pixels(width_px=256, height_px=128)


def test_a_size_is_written_as_it_is_read():
    assert str(parse_size("1024x64")) == "1024x64"


@pytest.mark.parametrize(
    "text",
    ["", "auto", "256", "256x", "x256", "0x64", "064x64", "-1x64", "64X64", "64×64", "64x64x3", " 64x64", "64x64\n"],
)
def test_anything_else_is_refused(text: str):
    with pytest.raises(ValueError, match="is not WIDTHxHEIGHT"):
        parse_size(text)


def test_six_digits_are_refused():
    with pytest.raises(ValueError, match="is not WIDTHxHEIGHT"):
        parse_size("100000x64")
