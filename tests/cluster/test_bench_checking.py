"""The added time of a picture in small: with the real classifier, with and without a list."""

from pathlib import Path

import pytest

from cluster.bench import checking
from cluster.bench.checking import measure_checking


def test_the_check_is_timed_for_each_size_with_and_without_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checking, "PICTURES", 1)
    monkeypatch.setattr(checking, "SIZES_PX", (64, 128))
    figures = measure_checking(2, tmp_path)
    names = ["M-image-64", "M-image-128", "M-image-64-listed", "M-image-128-listed"]
    assert [figure.row for figure in figures] == names
    assert all(len(figure.rounds) == 2 and min(figure.rounds) > 0 for figure in figures)
