"""Policies to start from are complete, and differ from the shipped ones only where they say so."""

from pathlib import Path

import pytest

from policies.diff import differences
from policies.load import load_policies
from policies.presets import PresetError, write_preset
from policies.publish import published


def test_the_european_preset_asks_for_consent_before_training_and_changes_nothing_else(tmp_path: Path):
    write_preset("european", tmp_path / "new" / "policies")
    policies = load_policies(tmp_path / "new" / "policies")
    assert (policies.retention.training.mode, policies.retention.training.ground) == ("opt_in", "consent")
    found = differences(published(load_policies()), published(policies))
    assert {each.effect for each in found} == {"tightens"}
    assert all(each.words.startswith("training ") for each in found)


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "plans.toml").write_text("mine")
    with pytest.raises(PresetError, match=r"has plans\.toml already"):
        write_preset("european", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["plans.toml"]


def test_an_unknown_preset_is_answered_with_those_there_are(tmp_path: Path):
    with pytest.raises(PresetError, match="no preset is called martian; there is european"):
        write_preset("martian", tmp_path)
