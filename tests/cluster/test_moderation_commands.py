import json
from pathlib import Path

import pytest

from cluster.cli import app
from tests.edge.domain.moderation.forbidden import POLICY, adult, gravest


def labelled(tmp_path: Path) -> Path:
    cases = [("a red apple", "harmless"), (gravest(), "sexual_minors"), (adult(), "sexual"), (adult(), "harmless")]
    cases.append((POLICY.categories["hate"].exemplars[0], "hate"))
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in cases))
    return file


def test_it_scores_a_labelled_file_by_words_and_by_meaning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    app(["moderation", "test", str(labelled(tmp_path))], result_action="return_value")
    said = capsys.readouterr().out
    assert "sexual_minors: precision 1.000 [0.207, 1.000] (1 of 1), recall 1.000 [0.207, 1.000] (1 of 1)" in said
    assert "sexual: precision 0.500" in said
    assert "harmless: precision 1.000 [0.207, 1.000] (1 of 1), recall 0.500" in said
    assert "hate: precision 1.000" in said
    app(["moderation", "test", str(labelled(tmp_path)), "--words"], result_action="return_value")
    assert "hate: precision none, recall 0.000" in capsys.readouterr().out


def test_a_bad_file_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "bad").write_text('{"text": "a"}')
    with pytest.raises(SystemExit) as left:
        app(["moderation", "test", str(tmp_path / "bad")])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("sfumato: line 1: ")
