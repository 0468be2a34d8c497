"""Policy files: what ships loads, and every mistake is named by file and place."""

from collections.abc import Callable
from datetime import timedelta
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from policies.load import DRAWN_FROM, PolicyError, accepted_digests, load_policies, model_digest
from policies.obeyed import OBEYED
from policies.schema import KeptClasses, Model

FILES = ["retention.toml", "plans.toml", "models.toml", "moderation.toml"]

Edit = Callable[[str, str, str], None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the shipped files."""
    for name in FILES:
        (tmp_path / name).write_text((resources.files("policies") / name).read_text("utf-8"), "utf-8")
    return tmp_path


@pytest.fixture
def edit(directory: Path) -> Edit:
    """Replace text in one of the copies."""

    def replace(name: str, old: str, new: str) -> None:
        text = (directory / name).read_text("utf-8")
        assert old in text
        (directory / name).write_text(text.replace(old, new, 1), "utf-8")

    return replace


def error_of(directory: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        load_policies(directory)
    return str(caught.value)


def test_the_shipped_files_load():
    policies = load_policies()
    assert policies.plans.plans["anonymous"].retention.default == timedelta(hours=1)
    assert policies.models.models["sfumato-embedded"].auto_size == "256x256"


def test_a_directory_of_the_operator_replaces_the_shipped_files(directory: Path, edit: Edit):
    edit("plans.toml", "max_images = 10", "max_images = 2")
    assert load_policies(directory).plans.plans["anonymous"].max_images == 2


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(directory: Path, name: str):
    (directory / name).unlink()
    assert error_of(directory).endswith(f"{name} is missing")


def test_a_file_that_cannot_be_read_as_text_is_named(directory: Path):
    (directory / "plans.toml").write_bytes(b"version = 1 # \xff")
    assert error_of(directory) == "plans.toml: not UTF-8 at byte 14"
    (directory / "plans.toml").unlink()
    (directory / "plans.toml").mkdir()
    assert error_of(directory).endswith("plans.toml cannot be read: Is a directory")


def test_text_that_is_no_toml_is_named_by_file(directory: Path):
    (directory / "plans.toml").write_text("version = = 1")
    assert error_of(directory).startswith("plans.toml: ")


@pytest.mark.parametrize(
    ("name", "old", "new", "path"),
    [
        ("retention.toml", "[classes.logs]", "[classes.logs]\ncolour = 1", "$.classes.logs"),
        ("plans.toml", "[traffic.paid]", "[traffic.paid]\nwieght = 1", "$.traffic[...]"),
        ("models.toml", "minimum = 4,", "minimum = 4, maximal = 9,", "$.models[...].steps"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path(directory: Path, edit: Edit, name: str, old: str, new: str, path: str):
    edit(name, old, new)
    error = error_of(directory)
    assert error.startswith(f"{name}: Object contains unknown field")
    assert path in error


@pytest.mark.parametrize(
    ("name", "old", "new", "path"),
    [
        ("retention.toml", 'kept_for = "P7D"', 'kept_for = "a week"', "$.classes.logs.kept_for"),
        ("plans.toml", "weight = 1.0", "weight = 0", "$.traffic[...].weight"),
        ("plans.toml", "max_images = 10", "max_images = 11", "$.plans[...].max_images"),
        ("models.toml", 'auto_size = "256x256"', 'auto_size = "256"', "$.models[...].auto_size"),
        ("models.toml", "version = 1", "version = 0", "$.version"),
        ("plans.toml", "weight = 1.0", "weight = inf", "$.traffic.anonymous.weight: not a finite number"),
        ("plans.toml", "deadline_s = 180.0", "deadline_s = nan", "$.traffic.anonymous.deadline_s: not a finite"),
        ("retention.toml", "backups_days = 31", "backups_days = 1_000_000_000_000", "$.backups_days"),
        ("retention.toml", "late_after_hours = 48", "late_after_hours = 1_000_000_000_000", "$.canaries.late_after"),
        ("models.toml", "maximum = 10.0", "maximum = inf", "$.models.sfumato-embedded.guidance.maximum: not a finite"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(directory: Path, edit: Edit, name: str, old: str, new: str, path: str):
    edit(name, old, new)
    error = error_of(directory)
    assert error.startswith(f"{name}: ")
    assert path in error


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("retention.toml", "version = 6", "version = 7", "retention.toml: `version` is 7"),
        ("models.toml", "version = 1", "version = 2", "models.toml: `version` is 2"),
        ("retention.toml", 'kept_for = "P7D"', "", "$.classes.logs: the code that obeys it needs `kept_for` alone"),
        (
            "retention.toml",
            'kept_for = "P7D"',
            'kept_for = "P7D"\nkept_until = "the job ends"',
            "needs `kept_for` alone",
        ),
        ("retention.toml", 'kept_for = "P7D"', 'kept_for = "P1DT12H"', "$.classes.logs.kept_for: in whole days"),
        ("retention.toml", 'kept_for = "P7D"', 'kept_for = "PT1H"', "$.classes.logs.kept_for: in whole days"),
        ("retention.toml", 'kept_for = "P365D"', 'kept_for = "P3650000D"', "$.classes.training_copy.kept_for: longer"),
        (
            "retention.toml",
            'kept_until = "the minute its caller chose"',
            'kept_for = "PT1M"',
            "output_image: the code that obeys it needs `kept_until` be 'the minute its caller chose'",
        ),
        (
            "retention.toml",
            'kept_until = "the minute its caller chose"',
            'kept_until = "the job ends"',
            "$.classes.output_image: the code that obeys it needs",
        ),
        (
            "retention.toml",
            'erasure = "does not reach it"\nbecause = "it is the proof that an erasure happened, and it names nobody"',
            'erasure = "reaches it"',
            "$.classes.proofs.erasure: the code that obeys it does otherwise: 'does not reach it'",
        ),
        ("plans.toml", "[plans.anonymous]", "[plans.visitor]", "callers without an account need the plan `anonymous`"),
        ("retention.toml", 'ground = "legitimate interest" #', 'ground = "consent" #', "it needs the mode `opt_in`"),
        ("retention.toml", "[1, 2, 8, 31]", "[1, 2, 8]", "$.plans.api.retention.maximum: no backstop class"),
        ("plans.toml", 'traffic = "paid"', 'traffic = "free"', "$.plans.pro.traffic: there is no class `free`"),
        ("plans.toml", '["sfumato-embedded"]', '["other"]', "$.plans.anonymous.models: models.toml has no `other`"),
        ("retention.toml", 'kept_for = "P7D"', 'kept_for = "-P7D"', "$.classes.logs.kept_for: longer than nothing"),
        ("retention.toml", 'kept_for = "P7D"', 'kept_for = "PT0S"', "$.classes.logs.kept_for: longer than nothing"),
        ("retention.toml", "[1, 2, 8, 31]", "[1, 2, 8, 31, 31]", "$.backstop_days: 31 is there twice"),
        ("plans.toml", 'default = "PT1H"', 'default = "PT59S"', "anonymous.retention.default: shorter than 60 s"),
        ("plans.toml", 'default = "PT1H"', 'default = "-PT1H"', "anonymous.retention.default: shorter than 60 s"),
        ("plans.toml", 'maximum = "P1D"', 'maximum = "PT0S"', "anonymous.retention.maximum: shorter than 60 s"),
        (
            "plans.toml",
            '["sfumato-embedded"]',
            '["sfumato-embedded", "sfumato-embedded"]',
            ".models: sfumato-embedded is",
        ),
        ("models.toml", '"128x128"', '"64x64"', ".sizes: 64x64 is there twice"),
        ("plans.toml", 'default = "PT1H"', 'default = "P2D"', "$.plans.anonymous.retention: the default is longer"),
        (
            "plans.toml",
            "images_per_minute = 20,",
            "images_per_minute = 9,",
            "anonymous.allowance.images_per_minute: less",
        ),
        (
            "plans.toml",
            "images_per_minute = 400",
            "images_per_minute = 100",
            "networks.ipv6_56.images_per_minute: less",
        ),
        (
            "plans.toml",
            "failed_tries_per_minute = 250",
            "failed_tries_per_minute = 99",
            "$.entry.ipv6_48.failed_tries_per_minute: less than ipv6_56 has",
        ),
        ("plans.toml", "share = 20", "share = 3001", "$.anonymous_budget.share: more than all of it"),
        ("plans.toml", "max_pixels = 1_048_576", "max_pixels = 4", "$.plans.anonymous.max_pixels: less than 256x256"),
        ("plans.toml", "max_steps = 50", "max_steps = 3", "$.plans.anonymous.max_steps: less than the"),
        ("models.toml", 'auto_size = "256x256"', 'auto_size = "96x96"', "auto_size: 96x96 is not among `sizes`"),
        ("models.toml", "low = 4", "low = 3", ".steps.low: outside"),
        ("models.toml", "high = 28", "high = 51", ".steps.high: outside"),
        ("models.toml", "default = 2.0", "default = 11.0", ".guidance.default: outside"),
        ("models.toml", 'family = "embedded"', 'family = "unet"', ".weights: this family needs a directory"),
    ],
)
def test_a_contradiction_is_named(directory: Path, edit: Edit, name: str, old: str, new: str, said: str):
    edit(name, old, new)
    assert said in error_of(directory)


def test_the_code_says_of_each_class_how_it_ends():
    assert set(OBEYED) == set(KeptClasses.__struct_fields__)


def test_sizes_of_a_unet_are_multiples_of_eight(directory: Path, edit: Edit):
    edit("models.toml", 'family = "embedded"', 'family = "unet"\nweights = "/models/one"')
    edit("models.toml", '"128x128"', '"130x128"')
    assert error_of(directory).endswith(".sizes: 130x128 is not divisible by 8")


def test_all_contradictions_are_named_at_once(directory: Path, edit: Edit):
    edit("models.toml", "low = 4", "low = 3")
    edit("plans.toml", 'traffic = "paid"', 'traffic = "free"')
    assert len(error_of(directory).splitlines()) == 2


def test_the_digest_is_of_what_a_replica_draws_from():
    told = {"title", "licence", "created", "auto_size", "note", "previous_digest", "gpus"}
    assert {*DRAWN_FROM, *told} == set(Model.__struct_fields__)
    policies = load_policies()
    model, images = policies.models.models["sfumato-embedded"], policies.moderation.images
    stricter = msgspec.structs.replace(images, threshold=0.1)
    warmer = msgspec.structs.replace(model, guidance=msgspec.structs.replace(model.guidance, default=3.0))
    renamed = msgspec.structs.replace(model, title="Another", note="better described")
    assert model_digest(renamed, images) == model_digest(model, images)
    assert model_digest(warmer, images) != model_digest(model, images)
    assert model_digest(model, stricter) != model_digest(model, images)


def test_the_digest_before_is_accepted_where_the_entry_names_it(directory: Path, edit: Edit):
    images = load_policies(directory).moderation.images
    digest = model_digest(load_policies(directory).models.models["sfumato-embedded"], images)
    edit("models.toml", "high = 28", "high = 30")
    assert digest not in accepted_digests(load_policies(directory).models.models["sfumato-embedded"], images)
    edit("models.toml", "high = 30 }", f'high = 30 }}\nprevious_digest = "{digest}"')
    after = load_policies(directory).models.models["sfumato-embedded"]
    assert accepted_digests(after, images) == {digest, model_digest(after, images)}
