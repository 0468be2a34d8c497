import json
from pathlib import Path

import pytest

from cluster.scoring import LabelledFileError, Share, read_labelled, scored


def test_precision_and_recall_count_what_they_say():
    scores = scored(["a", "a", "a", "b", "harmless"], ["a", "a", "b", "b", "a"])
    assert (scores["a"].precision, scores["a"].recall) == (Share(2, 3), Share(2, 3))
    assert (scores["b"].precision, scores["b"].recall) == (Share(1, 2), Share(1, 1))
    assert scores["harmless"].recall == Share(0, 1)
    assert str(scores["harmless"].precision) == "none"


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (285, 300, 0.9192, 0.9694),
        (0, 0, 0.0, 1.0),
    ],
)
def test_intervals_are_wilson_s(count: int, of: int, low: float, high: float):
    assert Share(count, of).interval == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def written(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return file


def test_a_labelled_file_is_read_and_blank_lines_are_none(tmp_path: Path):
    file = written(
        tmp_path, {"text": "an apple", "label": "harmless"}, "", {"text": "x", "label": "a", "source": "y"}, ""
    )
    assert [each.label for each in read_labelled(file, ["a"])] == ["harmless", "a"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"text": "canary"}, "line 2: .*`label`"),
        ({"label": "a"}, "line 2: .*`text`"),
        ({"text": 3, "label": "a"}, r"line 2: .*`\$.text`"),
        ({"text": "canary", "label": "z"}, "line 2: `label` is none of harmless, a"),
        ("canary", "line 2: .*malformed"),
        ("[]", "line 2: "),
    ],
)
def test_a_mistake_names_line_and_field_and_quotes_nothing(tmp_path: Path, line: object, problem: str):
    file = written(tmp_path, {"text": "an apple", "label": "harmless"}, line)
    with pytest.raises(LabelledFileError, match=problem) as caught:
        read_labelled(file, ["a"])
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_a_mistake(tmp_path: Path):
    with pytest.raises(LabelledFileError, match="cannot be read"):
        read_labelled(tmp_path / "none", [])
    with pytest.raises(LabelledFileError, match="has no line"):
        read_labelled(written(tmp_path, ""), [])
