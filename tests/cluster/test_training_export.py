"""The export of training copies: what it writes, what it checks at that moment, and how it goes on after a stop."""

import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import delete, select, update

from cluster.training_export import BATCH, Exported, ForeignDirectory, Source, export, list_withdrawn
from cluster.training_key import KeyFileError, make_training_key, public_half, read_training_key
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import ConsentRow, SessionRow
from edge.domain.training import withdraw
from policies.schema import TrainingMode
from serve_app.errors import StoreUnavailable
from serve_app.storage.directory import DirectoryStore
from serve_app.training import TrainingCopy, seal_copy
from tests.cluster.test_cli import sfumato

KEY = X25519PrivateKey.generate()
NOW = 1_800_000_000.0
DAY_S = 86_400
OWNER, OTHER = "1" * 32, "2" * 32


@dataclass
class House:
    store: DirectoryStore
    database: Database
    shelf: Path
    now: float = NOW

    async def add(self, count: int, *, owner: str = OWNER, mode: str = "opt_out", key: X25519PrivateKey = KEY) -> None:
        rows = await self.rows()
        for number in range(len(rows), len(rows) + count):
            image_id = f"{number:032x}"
            place = f"training/366d/20280115T0800Z/{image_id}"
            copy = TrainingCopy(f"picture {number}".encode(), "webp", f"an apple {number}", "m", 64, 32)
            await self.store.put(place, seal_copy(key.public_key().public_bytes_raw(), place, copy))
            row = ConsentRow(
                id=image_id, owner_kind="session", owner_id=owner, key=place, mode=mode, ground="legitimate interest",
                given_at=int(NOW), delete_at=int(NOW) + 365 * DAY_S,
            )  # fmt: skip
            await self.database.write(lambda db, row=row: db.add(row))

    async def rows(self) -> list[ConsentRow]:
        return await self.database.read(lambda db: list(db.scalars(select(ConsentRow).order_by(ConsentRow.id))))

    async def withdraw(self, number: int) -> None:
        await withdraw(
            ConsentRow.id == f"{number:032x}", store=self.store, database=self.database, now=self.now,
            forget_after_s=365 * DAY_S,
        )  # fmt: skip

    async def export(self, mode: TrainingMode = "opt_out", store: DirectoryStore | None = None) -> Exported:
        source = Source(store=store or self.store, database=self.database, mode=mode, clock=lambda: self.now)
        return await export(self.shelf, KEY, source)

    @property
    def manifest(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.shelf / "manifest.jsonl").read_text().splitlines()]

    @property
    def pictures(self) -> list[str]:
        return sorted(file.name for file in (self.shelf / "pictures").iterdir())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path / 'sfumato.db'}"))
    await migrate(database.engine)
    sessions = [SessionRow(id=owner, last_used_on=date(2027, 1, 15)) for owner in (OWNER, OTHER)]
    await database.write(lambda db: db.add_all(sessions))
    yield House(DirectoryStore(tmp_path / "objects"), database, tmp_path / "shelf")
    await database.close()


async def test_pictures_and_a_line_for_each_come_out_for_the_operator_only(house: House):
    await house.add(BATCH + 3)
    assert await house.export() == Exported(BATCH + 3, 0, 0, 0)
    first = house.manifest[0]
    assert (house.shelf / first["file"]).read_bytes() == b"picture 0"
    assert first == {
        "id": "0" * 32, "file": f"pictures/{'0' * 32}.webp", "caption": "an apple 0", "model": "m", "width": 64,
        "height": 32, "ground": "legitimate interest", "given_at": "2027-01-15T08:00:00Z",
        "drop_by": "2028-01-15T08:00:00Z",
    }  # fmt: skip
    assert len(house.manifest) == len(house.pictures) == BATCH + 3
    assert all(row.exported_at == int(NOW) for row in await house.rows())
    assert stat.S_IMODE((house.shelf / first["file"]).stat().st_mode) == 0o600
    assert stat.S_IMODE((house.shelf / "manifest.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(house.shelf.stat().st_mode) == stat.S_IMODE((house.shelf / "pictures").stat().st_mode) == 0o700


@pytest.mark.parametrize("gone", ["withdrawn", "session", "time", "object"])
async def test_what_may_not_be_used_now_does_not_come_out(house: House, gone: str):
    await house.add(1)
    await house.add(1, owner=OTHER)
    [row, other] = await house.rows()
    match gone:
        case "withdrawn":
            await house.withdraw(0)
        case "session":
            await house.database.write(lambda db: db.execute(delete(SessionRow).where(SessionRow.id == OWNER)))
        case "object":
            await house.store.delete([row.key])
        case _:
            await house.database.write(
                lambda db: db.execute(update(ConsentRow).where(ConsentRow.id == row.id).values(delete_at=int(NOW)))
            )
    assert (await house.export()).written == 1
    assert [line["id"] for line in house.manifest] == [other.id]


@pytest.mark.parametrize(
    ("given_under", "in_force", "count"),
    [
        ("opt_out", "opt_out", 1),
        ("opt_in", "opt_in", 1),
        ("opt_in", "opt_out", 1),
        ("opt_out", "opt_in", 0),  # nobody said yes
        ("opt_out", "never", 0),
        ("opt_in", "never", 0),
    ],
)
async def test_the_mode_in_force_must_still_allow_it(
    house: House, given_under: str, in_force: TrainingMode, count: int
):
    await house.add(1, mode=given_under)
    assert (await house.export(in_force)).written == count


async def test_a_second_run_adds_what_is_new_and_removes_what_was_taken_back(house: House):
    await house.add(3)
    await house.export()
    await house.withdraw(1)
    await house.add(1)
    assert await house.export() == Exported(1, 2, 1, 0)
    assert [line["id"][-1] for line in house.manifest] == ["0", "2", "3"]
    assert [name[31] for name in house.pictures] == ["0", "2", "3"]


async def test_a_policy_that_says_never_empties_the_directory(house: House):
    await house.add(2)
    await house.export()
    assert await house.export("never") == Exported(0, 0, 2, 0)
    assert (house.manifest, house.pictures) == ([], [])


class Breaking(DirectoryStore):
    """Answers `left` more times."""

    left = BATCH + 2

    async def get(self, key: str) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("gone")
        return await super().get(key)


async def test_a_run_that_was_cut_off_is_continued(house: House, tmp_path: Path):
    await house.add(2 * BATCH)
    with pytest.raises(StoreUnavailable):
        await house.export(store=Breaking(tmp_path / "objects"))
    (house.shelf / house.manifest[0]["file"]).unlink()
    with (house.shelf / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"id": "cut in the mid')
    (house.shelf / "pictures" / f"{'f' * 32}.webp.partial").write_bytes(b"half a")

    assert await house.export() == Exported(BATCH + 1, BATCH - 1, 0, 0)
    assert len({line["id"] for line in house.manifest}) == len(house.manifest) == len(house.pictures) == 2 * BATCH


async def test_what_no_export_wrote_is_never_touched(house: House):
    await house.add(2)
    await house.export()
    album = house.shelf / "pictures" / "album"
    album.mkdir()
    (house.shelf / "pictures" / "wedding.jpg").write_bytes(b"mine")
    await house.withdraw(0)
    assert await house.export() == Exported(0, 1, 1, 0)
    assert {"album", "wedding.jpg"} <= set(house.pictures)


@pytest.mark.parametrize(
    ("name", "content"), [("pictures/wedding.jpg", b"mine"), ("manifest.jsonl", b'{"file_name": "cat.png"}\n')]
)
async def test_a_directory_of_somebody_else_is_refused_and_left_as_it_was(house: House, name: str, content: bytes):
    await house.add(1)
    theirs = house.shelf / name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(content)
    with pytest.raises(ForeignDirectory, match="name another directory"):
        await house.export()
    assert [file.read_bytes() for file in house.shelf.rglob("*") if file.is_file()] == [content]
    assert [row.exported_at for row in await house.rows()] == [None]


async def test_a_withdrawal_while_a_picture_is_written_is_listed(house: House):
    await house.add(1)
    [row] = await house.rows()

    class Late(DirectoryStore):
        """The owner says no just after the object was read."""

        async def get(self, key: str) -> bytes:
            data = await super().get(key)
            await house.withdraw(0)
            return data

    assert (await house.export(store=Late(house.shelf.parent / "objects"))).written == 0
    assert house.pictures == []
    assert await list_withdrawn(house.database) == []  # it never came out
    assert row.exported_at is None


async def test_only_what_came_out_and_was_taken_back_is_listed(house: House):
    await house.add(3)
    await house.export()
    await house.add(1)
    house.now += DAY_S
    await house.withdraw(0)
    await house.withdraw(3)
    house.now += DAY_S
    await house.withdraw(2)
    listed = await list_withdrawn(house.database)
    assert [(each.id[-1], each.at.day) for each in listed] == [("0", 16), ("2", 17)]
    assert [each.id[-1] for each in await list_withdrawn(house.database, datetime(2027, 1, 17, tzinfo=UTC))] == ["2"]


async def test_what_was_sealed_to_another_key_is_left_out_and_counted(house: House):
    await house.add(1, key=X25519PrivateKey.generate())
    await house.add(1)
    assert await house.export() == Exported(1, 0, 0, 1)
    assert [row.exported_at for row in await house.rows()] == [None, int(NOW)]


# the key -------------------------------------------------------------------------------------------------------------


def test_a_key_is_never_overwritten_and_reads_back(tmp_path: Path):
    made = make_training_key(tmp_path / "training.key")
    with pytest.raises(KeyFileError, match="there already"):
        make_training_key(tmp_path / "training.key")
    assert public_half(read_training_key(tmp_path / "training.key")) == public_half(made)


def test_a_file_that_is_no_such_key_is_named(tmp_path: Path):
    other = ed25519.Ed25519PrivateKey.generate()
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, said in ((b"", "no private key"), (b"x" * 40, "no private key"), (pem, "another kind")):
        (tmp_path / "k").write_bytes(content)
        with pytest.raises(KeyFileError, match=said):
            read_training_key(tmp_path / "k")
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_training_key(tmp_path / "none")
    with pytest.raises(KeyFileError, match="cannot be written"):
        make_training_key(tmp_path / "none" / "k")


# the commands --------------------------------------------------------------------------------------------------------


async def test_the_commands_export_and_list_from_the_home_directory(house: House, tmp_path: Path):
    (tmp_path / "training.key").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    await house.add(2)
    arguments = ("training", "export", "shelf", "--key", "training.key")
    env = {"SFUMATO_HOME": str(tmp_path)}
    await house.database.write(
        lambda db: db.execute(update(ConsentRow).values(delete_at=ConsentRow.delete_at + 100 * 365 * DAY_S))
    )
    ended = sfumato(*arguments, cwd=tmp_path, **env)
    assert (ended.returncode, ended.stdout) == (0, "2 pictures written to shelf, 0 were there, 0 removed\n")
    await house.withdraw(1)
    assert sfumato(*arguments, cwd=tmp_path, **env).stdout == "0 pictures written to shelf, 1 were there, 1 removed\n"
    assert sfumato("training", "withdrawn", cwd=tmp_path, **env).stdout == f"{1:032x} 2027-01-15\n"
    assert sfumato("training", "withdrawn", "--since", "2027-01-16", cwd=tmp_path, **env).stdout == ""


def test_a_mistake_is_one_line(tmp_path: Path):
    made = sfumato("training", "key", "k", cwd=tmp_path)
    assert made.stdout.startswith("SFUMATO_TRAINING_KEY=")
    for arguments in (("key", "k"), ("export", "d", "--key", "none"), ("export", "d", "--key", "k"), ("withdrawn",)):
        ended = sfumato("training", *arguments, cwd=tmp_path)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
