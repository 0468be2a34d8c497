"""The rule about training as a table, and what becomes of copies: withdrawn, orphaned, at their end."""

import itertools
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal, get_args

import msgspec
import pytest
from sqlalchemy import select

from edge.db.database import Database
from edge.db.rows import ConsentRow, SessionRow
from edge.domain.owner import Owner, OwnerId, owned
from edge.domain.sessions import touch_session
from edge.domain.training import (
    BATCH,
    Asked,
    Choice,
    Terms,
    Word,
    add_consent,
    choice_of,
    choose,
    count_copies,
    decide,
    finish_withdrawals,
    forget_consents,
    permission_for,
    refuse_what_cannot_be,
    terms_of,
    withdraw,
    withdraw_orphans,
)
from edge.errors import BadInput
from policies.load import load_policies
from policies.schema import TrainingMode
from serve_app.errors import StoreUnavailable
from serve_app.storage.directory import DirectoryStore

NOW = 1_800_000_000.0
DAY_S = 86_400
KEPT_ROW_S = 365 * DAY_S
OWNER = Owner("session", OwnerId("1" * 32))
OTHER = Owner("session", OwnerId("2" * 32))
WORDS: tuple[Choice | None, ...] = ("allow", "deny", None)


def terms(mode: TrainingMode = "opt_out", key: bytes | None = b"\x04" * 32) -> Terms:
    return msgspec.structs.replace(terms_of(load_policies(), key), mode=mode)


# the decision --------------------------------------------------------------------------------------------------------


def expected(asked: Asked, terms: Terms) -> Choice:
    """The rule said another way: first all that forbids, then the last word that was spoken."""
    forbidden = asked.gpc or terms.mode == "never" or terms.public_key is None or not asked.is_kept
    usual: Choice = "allow" if terms.mode == "opt_out" and asked.owner_kind == "session" else "deny"
    return "deny" if forbidden else asked.request or asked.choice or usual


@pytest.mark.parametrize("mode", get_args(TrainingMode))
def test_every_combination_is_decided_as_the_promise_says(mode: TrainingMode):
    kinds: tuple[Literal["session", "account"], ...] = ("session", "account")
    truth = (True, False)
    for kind, key, gpc, is_kept, request, choice in itertools.product(
        kinds, (None, b"\x04" * 32), truth, truth, WORDS, WORDS
    ):
        asked = Asked(owner_kind=kind, is_kept=is_kept, gpc=gpc, request=request, choice=choice)
        assert decide(asked, terms(mode, key)).effective == expected(asked, terms(mode, key)), (asked, key)


@pytest.mark.parametrize(
    ("asked", "mode", "answer"),
    [
        (Asked(owner_kind="session"), "opt_out", ("allow", "mode")),
        (Asked(owner_kind="session"), "opt_in", ("deny", "mode")),
        (Asked(owner_kind="session"), "never", ("deny", "policy")),
        (Asked(owner_kind="account"), "opt_out", ("deny", "account")),
        (Asked(owner_kind="account", request="allow"), "opt_out", ("allow", "request")),
        (Asked(owner_kind="session", gpc=True, request="allow", choice="allow"), "opt_in", ("deny", "gpc")),
        (Asked(owner_kind="session", is_kept=False, request="allow"), "opt_in", ("deny", "not_kept")),
        (Asked(owner_kind="session", choice="deny", request="allow"), "opt_out", ("allow", "request")),
        (Asked(owner_kind="session", choice="allow", request="deny"), "opt_in", ("deny", "request")),
        (Asked(owner_kind="session", choice="deny"), "opt_out", ("deny", "choice")),
        (Asked(owner_kind="session", choice="allow"), "opt_in", ("allow", "choice")),
    ],
)
def test_the_answer_says_what_settled_it(asked: Asked, mode: TrainingMode, answer: tuple[str, str]):
    decided = decide(asked, terms(mode))
    assert (decided.effective, decided.because) == answer


def test_without_a_training_key_nothing_is_copied():
    decided = decide(Asked(owner_kind="session", request="allow"), terms("opt_out", None))
    assert (decided.effective, decided.because) == ("deny", "no_key")


@pytest.mark.parametrize(
    ("offered", "is_kept", "code"),
    [(terms("never"), True, "not_available"), (terms(key=None), True, "not_available"), (terms(), False, "retention")],
)
def test_a_yes_without_effect_is_refused_by_name(offered: Terms, is_kept: bool, code: str):
    with pytest.raises(BadInput) as refused:
        refuse_what_cannot_be("allow", offered, is_kept=is_kept)
    assert (refused.value.param, refused.value.code) == ("training", code)
    refuse_what_cannot_be("deny", offered, is_kept=is_kept)
    refuse_what_cannot_be(None, offered, is_kept=is_kept)


def test_a_yes_that_can_be_is_taken():
    refuse_what_cannot_be("allow", terms(), is_kept=True)


def test_the_terms_are_the_policys():
    offered = terms_of(load_policies(), b"k")
    assert (offered.mode, offered.ground, offered.class_days) == ("opt_out", "legitimate interest", 366)
    assert offered.order is not None
    assert (offered.order.prefix, offered.order.kept_for_s) == ("training", 365 * DAY_S)


# rows and copies -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")


def copy_row(number: int, owner: Owner = OWNER, *, exported_at: int | None = None) -> ConsentRow:
    image_id = f"{number:032x}"
    return ConsentRow(
        id=image_id, owner_kind=owner.kind, owner_id=owner.id, key=f"training/366d/20280115T0800Z/{image_id}",
        mode="opt_out", ground="legitimate interest", given_at=int(NOW), delete_at=int(NOW) + 365 * DAY_S,
        exported_at=exported_at,
    )  # fmt: skip


async def keep(database: Database, store: DirectoryStore, rows: Sequence[ConsentRow], *sessions: Owner) -> None:
    for row in rows:
        await store.put(row.key, b"sealed")
    present = [SessionRow(id=owner.id, last_used_on=date(2027, 1, 15)) for owner in sessions]
    await database.write(lambda db: db.add_all([*rows, *present]))


async def rows_left(database: Database) -> list[ConsentRow]:
    return await database.read(lambda db: list(db.scalars(select(ConsentRow).order_by(ConsentRow.id))))


async def test_a_withdrawal_takes_object_and_row_and_leaves_others_alone(database: Database, store: DirectoryStore):
    await keep(database, store, [copy_row(1), copy_row(2), copy_row(3, OTHER)], OWNER, OTHER)
    withdrawn = await withdraw(
        owned(ConsentRow, OWNER), store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S
    )
    assert [copy.id for copy in withdrawn.copies] == [copy_row(1).id, copy_row(2).id]
    assert withdrawn.is_complete
    assert await store.keys("training/") == [copy_row(3).key]
    assert [row.id for row in await rows_left(database)] == [copy_row(3).id]
    assert await database.read(lambda db: count_copies(db, OTHER)) == 1


async def test_what_was_exported_stays_known_without_its_owner_until_it_is_forgotten(
    database: Database, store: DirectoryStore
):
    await keep(database, store, [copy_row(1, exported_at=int(NOW) - 5)], OWNER)
    await withdraw(ConsentRow.id == copy_row(1).id, store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S)
    [row] = await rows_left(database)
    assert (row.owner_kind, row.owner_id, row.key, row.withdrawn_at) == (None, None, "", int(NOW))
    assert await store.keys("training/") == []
    assert await database.write(lambda db: forget_consents(db, NOW + KEPT_ROW_S - 1)) == 0
    assert await database.write(lambda db: forget_consents(db, NOW + KEPT_ROW_S)) == 1


async def test_a_withdrawal_of_many_is_whole_and_counts_each_once(database: Database, store: DirectoryStore):
    count = BATCH + 20
    await keep(database, store, [copy_row(number) for number in range(count)], OWNER)
    everything = owned(ConsentRow, OWNER)
    first = await withdraw(everything, store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S)
    again = await withdraw(everything, store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S)
    assert (len(first.copies), len(again.copies)) == (count, 0)
    assert await rows_left(database) == []


class Silent(DirectoryStore):
    """A store that does not answer."""

    async def delete(self, keys: Sequence[str]) -> None:
        raise StoreUnavailable("no answer")


async def test_a_withdrawal_that_the_store_did_not_hear_is_finished_later(
    database: Database, store: DirectoryStore, tmp_path: Path
):
    await keep(database, store, [copy_row(1)], OWNER)
    silent = Silent(tmp_path / "objects")
    owns = owned(ConsentRow, OWNER)
    assert not (await withdraw(owns, store=silent, database=database, now=NOW, forget_after_s=KEPT_ROW_S)).is_complete
    assert await store.keys("training/") == [copy_row(1).key]
    [row] = await rows_left(database)
    assert (row.owner_id, row.withdrawn_at) == (None, int(NOW))

    with pytest.raises(StoreUnavailable):
        await finish_withdrawals(store=silent, database=database)
    assert await finish_withdrawals(store=store, database=database) == 1
    assert await finish_withdrawals(store=store, database=database) == 0
    assert await store.keys("training/") == []
    assert await rows_left(database) == []


async def test_copies_go_with_the_session_that_could_say_no(database: Database, store: DirectoryStore):
    await keep(database, store, [copy_row(1), copy_row(2, OTHER)], OTHER)
    orphans = await withdraw_orphans("opt_out", store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S)
    assert [copy.id for copy in orphans.copies] == [copy_row(1).id]
    assert [row.id for row in await rows_left(database)] == [copy_row(2).id]


@pytest.mark.parametrize(("in_force", "stay"), [("opt_out", [1, 2]), ("opt_in", [2]), ("never", [])])
async def test_copies_go_when_the_mode_in_force_does_not_let_their_consent_count(
    database: Database, store: DirectoryStore, in_force: TrainingMode, stay: list[int]
):
    silent, said = copy_row(1, exported_at=int(NOW)), copy_row(2, exported_at=int(NOW))
    said.mode = "opt_in"
    await keep(database, store, [silent, said], OWNER)
    for _ in range(2):
        await withdraw_orphans(in_force, store=store, database=database, now=NOW, forget_after_s=KEPT_ROW_S)
    assert await store.keys("training/") == [copy_row(number).key for number in stay]
    withdrawn = [row.id for row in await rows_left(database) if row.withdrawn_at]
    assert withdrawn == [copy_row(number).id for number in (1, 2) if number not in stay]


async def test_the_row_of_a_copy_goes_at_the_copys_own_end(database: Database, store: DirectoryStore):
    await keep(database, store, [copy_row(1)], OWNER)
    assert await database.write(lambda db: forget_consents(db, NOW + 365 * DAY_S - 1)) == 0
    assert await database.write(lambda db: forget_consents(db, NOW + 365 * DAY_S)) == 1


# the choice ----------------------------------------------------------------------------------------------------------


async def test_a_choice_writes_the_session_and_is_looked_up_where_it_matters(database: Database):
    asked = Asked(owner_kind="session")
    assert await database.read(lambda db: choice_of(db, OWNER)) is None
    await database.write(lambda db: choose(db, OWNER, "deny", NOW))
    assert await database.read(lambda db: choice_of(db, OWNER)) == "deny"
    assert await database.read(lambda db: permission_for(db, asked, OWNER, terms())) is None
    other = await database.read(lambda db: permission_for(db, asked, OTHER, terms()))
    assert other is not None
    assert (other.mode, other.word) == ("opt_out", Word())


@pytest.mark.parametrize("mode", ["opt_out", "opt_in"])
async def test_a_yes_that_was_said_counts_as_one_under_each_mode(database: Database, mode: TrainingMode):
    by_call = Asked(owner_kind="session", request="allow")
    await database.write(lambda db: choose(db, OWNER, "allow", NOW))
    for asked, owner in ((by_call, OTHER), (Asked(owner_kind="session"), OWNER)):
        permission = await database.read(
            lambda db, asked=asked, owner=owner: permission_for(db, asked, owner, terms(mode))
        )
        assert permission is not None
        assert permission.mode == "opt_in"


@pytest.mark.parametrize(
    ("before", "meanwhile", "is_added"),
    [
        ([], [], True),
        ([], ["deny"], False),
        ([], ["deny", "allow"], True),
        (["allow"], ["deny"], False),
        (["deny"], [], True),  # the call's own yes came after it
        (["deny"], ["deny"], False),  # and this no after the call
    ],
)
@pytest.mark.parametrize("clock_goes_s", [5, 0, -5])
async def test_a_no_during_the_drawing_holds_for_it_whatever_the_clock_says(
    database: Database, before: list[Choice], meanwhile: list[Choice], is_added: bool, clock_goes_s: int
):
    await database.write(lambda db: touch_session(db, OWNER, NOW))
    for word in before:
        await database.write(lambda db, word=word: choose(db, OWNER, word, NOW))
    asked = Asked(owner_kind="session", request="allow")
    permission = await database.read(lambda db: permission_for(db, asked, OWNER, terms()))
    assert permission is not None
    for word in meanwhile:
        await database.write(lambda db, word=word: choose(db, OWNER, word, NOW + clock_goes_s))
    assert await database.write(lambda db: add_consent(db, copy_row(1), permission.word)) is is_added
    assert len(await rows_left(database)) == is_added


async def test_without_a_session_that_could_say_no_no_copy_is_kept(database: Database):
    assert not await database.write(lambda db: add_consent(db, copy_row(1), Word()))
