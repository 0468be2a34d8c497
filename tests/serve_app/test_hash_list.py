"""The operator's list: a file that may change while pictures are made."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serve_app.errors import ModerationUnavailable
from serve_app.hash_list import HashList, add_hashes, nearest

ONE, OTHER = "00" * 32, "0f" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image-hashes.txt"


def replaced(file: Path, text: str) -> None:
    """As an operator should: whole, at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


def test_no_file_is_an_empty_list(file: Path):
    assert len(HashList(file).hashes()) == 0


def test_remarks_and_blank_lines_are_no_hashes(file: Path):
    file.write_text(f"# reported on a Tuesday\n\n{ONE}  # 17\n  {OTHER.upper()}\n")
    assert HashList(file).hashes().tolist() == [[0] * 32, [15] * 32]


def test_a_change_counts_from_the_next_picture_on(file: Path):
    hashes = HashList(file)
    file.write_text(f"{ONE}\n")
    assert len(hashes.hashes()) == 1
    replaced(file, f"{ONE}\n{OTHER}\n")
    assert len(hashes.hashes()) == 2
    file.unlink()
    assert len(hashes.hashes()) == 0


@pytest.mark.parametrize("line", ["00" * 31, "00" * 33, "0g" * 32, "a picture", "ü"])
def test_a_line_that_is_no_hash_stops_all_pictures_until_it_is_mended(file: Path, line: str):
    hashes = HashList(file)
    replaced(file, f"{ONE}\n{line}\n")
    for _ in range(2):
        with pytest.raises(ModerationUnavailable) as refused:
            hashes.hashes()
    assert line not in refused.value.message
    with pytest.raises(ModerationUnavailable):
        HashList(file)
    replaced(file, f"{ONE}\n")
    assert len(hashes.hashes()) == 1


def test_a_file_that_cannot_be_read_stops_all_pictures(tmp_path: Path):
    with pytest.raises(ModerationUnavailable):
        HashList(tmp_path)
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(ModerationUnavailable):
        HashList(in_the_way / "image-hashes.txt")


def test_the_nearest_is_counted_in_bits():
    hashes = np.array([[255] * 32, [0] * 31 + [7]], np.uint8)
    assert nearest(np.zeros(32, np.uint8), hashes) == 3


def test_what_is_added_is_there_once_beside_what_an_operator_wrote(file: Path):
    file.write_text(f"# mine\n{ONE} # first")
    add_hashes(file, [np.frombuffer(bytes.fromhex(each), np.uint8) for each in (ONE, OTHER, OTHER)], "report 7")
    assert file.read_text() == f"# mine\n{ONE} # first\n{OTHER} # report 7\n"
    assert len(HashList(file).hashes()) == 2
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_many_who_add_at_once_lose_nothing(file: Path):
    hashes = [np.full(32, number, np.uint8) for number in range(24)]

    def add(each: NDArray[np.uint8]) -> None:
        add_hashes(file, [each], "at once")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, hashes))
    assert {bytes(each) for each in HashList(file).hashes()} == {bytes(each) for each in hashes}
