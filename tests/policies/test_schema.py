"""What the policy structs answer by themselves."""

from datetime import timedelta

import msgspec
import pytest

from policies.load import load_policies
from policies.schema import Kept, RetentionPolicy


@pytest.fixture(scope="module")
def retention() -> RetentionPolicy:
    return load_policies().retention


@pytest.mark.parametrize(
    ("kept_for", "days"),
    [
        (timedelta(0), 1),
        (timedelta(hours=1), 1),
        (timedelta(days=1), 2),
        (timedelta(days=7), 8),
        (timedelta(days=30), 31),
    ],
)
def test_the_backstop_is_the_smallest_class_that_is_longer(retention: RetentionPolicy, kept_for: timedelta, days: int):
    assert retention.backstop_for(kept_for) == days


def test_the_order_of_the_backstops_does_not_matter(retention: RetentionPolicy):
    shuffled = msgspec.structs.replace(retention, backstop_days=[31, 1, 8, 2])
    assert shuffled.backstop_for(timedelta(hours=30)) == 2


def test_a_time_longer_than_every_backstop_is_refused(retention: RetentionPolicy):
    with pytest.raises(ValueError, match="no backstop class"):
        retention.backstop_for(timedelta(days=31))


def test_only_a_class_kept_for_a_time_has_a_duration(retention: RetentionPolicy):
    classes = retention.classes
    assert classes.job_state.duration == timedelta(days=1)
    with pytest.raises(ValueError, match="kept until the image goes"):
        assert classes.job_and_image_rows.duration


def test_policies_cannot_be_changed_after_loading(retention: RetentionPolicy):
    with pytest.raises(AttributeError, match="immutable"):
        retention.version = 2  # pyright: ignore[reportAttributeAccessIssue]


def test_every_class_says_what_why_and_how_it_ends(retention: RetentionPolicy):
    classes = retention.classes
    for name in classes.__struct_fields__:
        kept: Kept = getattr(classes, name)
        assert all((kept.what, kept.where, kept.why, kept.ends_by, kept.counted_from)), name
