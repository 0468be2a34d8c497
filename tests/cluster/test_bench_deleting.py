"""F1 in small: it measures what it says, on whatever stores it is pointed to."""

import pytest

from cluster.bench import deleting
from cluster.bench.deleting import measure_deletions
from tests.servers import S3Server


async def test_every_store_is_measured_and_nothing_is_left(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    for name, size in (("BURST", 30), ("LIVE_ROWS", 40), ("CHUNK", 20)):
        monkeypatch.setattr(deleting, name, size)
    with s3.bucket() as env:
        rate, lag = await measure_deletions(2, env)
        assert list(s3.client().list_objects(env["SFUMATO_S3_BUCKET"], recursive=True)) == []
    assert set(rate.sides) == {"directory-sqlite_per_s", "s3-sqlite_per_s"}
    assert all(len(each.rounds) == 2 and min(each.rounds) > 0 for each in (rate, lag))
