"""Whether a picture may be copied to train models, and what becomes of the copy.

`decide` is the whole rule. What it says of a job is a `Permission`, which a no of its owner ends that comes meanwhile:
known by the number of that word, since clocks differ and are set. A copy has a `consent` row, written together with the
image's; its object lies under a key of its own. `withdraw` takes both away: the row loses its owner first, so that
nothing is exported from then on, and the object goes next. A row that was exported stays for a while without its owner,
to say what the exports must drop.
"""

import logging
from collections.abc import Collection, Sequence
from functools import cache, partial
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, delete, exists, false, func, or_, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import AccountRow, ConsentRow, SessionRow
from edge.db.statements import changed
from edge.domain.owner import Owner, OwnerId, owned
from edge.domain.sessions import touch_session
from edge.errors import BadInput
from policies.publish import TRAINING
from policies.schema import Policies, TrainingMode
from serve_app.contract import Image, TrainingOrder
from serve_app.errors import StoreUnavailable
from serve_app.storage.keys import parse_key
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

BATCH = 500
ROUNDED_S = 3_600  # a copy's end is a whole minute, by another clock than the row's
_COPY = (ConsentRow.id, ConsentRow.key, ConsentRow.given_at, ConsentRow.exported_at)

_CHOOSERS: dict[str, type[SessionRow] | type[AccountRow]] = {"session": SessionRow, "account": AccountRow}
"""Whose row holds the choice, by the kind of owner."""

Choice = Literal["allow", "deny"]
Because = Literal["gpc", "policy", "no_key", "not_kept", "request", "choice", "account", "mode"]


class Terms(Struct, frozen=True):
    """What the operator offers: the policy's mode and ground, and where copies go. No key means no copies.

    `proofs_kept_for_s`: how long the row of an exported copy stays after its withdrawal.
    """

    mode: TrainingMode
    ground: str
    class_days: int
    kept_for_s: int
    proofs_kept_for_s: float
    public_key: bytes | None

    @property
    def order(self) -> TrainingOrder | None:
        """For the replica, of a picture that may be copied."""
        if self.public_key is None:
            return None
        return TrainingOrder(TRAINING, self.class_days, self.kept_for_s, self.public_key)


class Asked(Struct, frozen=True, kw_only=True):
    """What bears on one picture: the call's own word, its owner's choice, and the browser's `Sec-GPC: 1`.

    `is_kept`: stored for a time, neither `none` nor `on_download`.
    """

    owner_kind: Literal["session", "account"]
    is_kept: bool = True
    gpc: bool = False
    request: Choice | None = None
    choice: Choice | None = None


class Answer(Struct, frozen=True):
    """`because` names what settled it."""

    effective: Choice
    because: Because


class Word(Struct, frozen=True):
    """What an owner said last; `number` is another after each word."""

    choice: Choice | None = None
    number: int | None = None


class Permission(Struct, frozen=True):
    """That the pictures of one job may be copied, and its owner's word when the job was accepted.

    `mode`: the strictest under which it counts, `opt_in` where somebody said yes.
    """

    terms: Terms
    mode: TrainingMode
    word: Word


class WithdrawnCopy(Struct, frozen=True):
    """Where the copy lay, and since when; `exported_at`: an export has it, and its row stays to say so."""

    id: str
    key: str
    given_at: int
    exported_at: int | None


class Withdrawn(Struct, frozen=True):
    """`copies`: those that this withdrawal was the first to name.

    `is_complete` is False where the store did not answer: nothing is exported any more, and the sweeper finishes.
    """

    copies: list[WithdrawnCopy]
    is_complete: bool = True


def terms_of(policies: Policies, public_key: bytes | None) -> Terms:
    retention = policies.retention
    return Terms(
        mode=retention.training.mode,
        ground=retention.training.ground,
        class_days=retention.training_backstop_days,
        kept_for_s=int(retention.classes.training_copy.duration_s),
        proofs_kept_for_s=retention.classes.proofs.duration_s,
        public_key=public_key,
    )


def decide(asked: Asked, terms: Terms) -> Answer:
    """From what always means no, to the more specific word, to what the policy does with those who said nothing."""
    if terms.mode == "never":
        return Answer("deny", "policy")
    if terms.public_key is None:
        return Answer("deny", "no_key")
    if asked.gpc:
        return Answer("deny", "gpc")
    if not asked.is_kept:
        return Answer("deny", "not_kept")
    if asked.request is not None:
        return Answer(asked.request, "request")
    if asked.choice is not None:
        return Answer(asked.choice, "choice")
    if asked.owner_kind == "account":
        return Answer("deny", "account")
    return Answer("allow" if terms.mode == "opt_out" else "deny", "mode")


def refuse_what_cannot_be(wish: Choice | None, terms: Terms, *, is_kept: bool = True, param: str = "training") -> None:
    """A yes that would have no effect is refused, never ignored. Raises BadInput."""
    if wish != "allow":
        return
    if terms.mode == "never" or terms.public_key is None:
        raise BadInput("nothing made here is used for training", param=param, code="not_available")
    if not is_kept:
        raise BadInput("what is not stored for a time is never copied for training", param=param, code="retention")


# the owner's choice ---------------------------------------------------------------------------------------------------


def choose(db: Session, owner: Owner, choice: Choice, now: float) -> None:
    """Holds for what comes, and a no for what is being drawn too; `withdraw` is for what there is."""
    touch_session(db, owner, now)
    row = _CHOOSERS[owner.kind]
    grown = case((row.training_at >= int(now), row.training_at + 1), else_=int(now))
    db.execute(update(row).where(row.id == owner.id).values(training=choice, training_at=grown))


def choice_of(db: Session, owner: Owner) -> Choice | None:
    return _words_of(db, [owner]).get(owner, Word()).choice


def permission_for(db: Session, asked: Asked, owner: Owner, terms: Terms) -> Permission | None:
    """`decide`, with the owner's word. None for no."""
    [permission] = permissions_for(db, [(asked, owner)], terms)
    return permission


def permissions_for(db: Session, all_asked: Sequence[tuple[Asked, Owner]], terms: Terms) -> list[Permission | None]:
    """For many at once. Words are looked up only where they may matter."""
    matters = {owner for asked, owner in all_asked if _may_be(asked, terms)}
    words = _words_of(db, matters) if matters else {}
    return [_permission(asked, terms, words.get(owner, Word())) for asked, owner in all_asked]


def _may_be(asked: Asked, terms: Terms) -> bool:
    answer = decide(asked, terms)
    return answer.effective == "allow" or answer.because in ("mode", "account")


def _permission(asked: Asked, terms: Terms, word: Word) -> Permission | None:
    answer = decide(replace(asked, choice=word.choice), terms)
    if answer.effective == "deny":
        return None
    return Permission(terms, "opt_in" if answer.because in ("request", "choice") else terms.mode, word)


def _words_of(db: Session, owners: Collection[Owner]) -> dict[Owner, Word]:
    """Asked with each job: a statement is made once, and what others have added meanwhile need not be written for it,
    since nobody says a word by adding a row."""
    words: dict[Owner, Word] = {}
    for kind in sorted({owner.kind for owner in owners}):
        mine = {owner.id: owner for owner in owners if owner.kind == kind}
        found = db.connection().execute(_said_by(kind), {"ids": list(mine)})
        words |= {mine[OwnerId(owner_id)]: Word(*said) for owner_id, *said in found}
    return words


@cache
def _said_by(kind: str) -> Select[tuple[str, str | None, int | None]]:
    row = _CHOOSERS[kind]
    return select(row.id, row.training, row.training_at).where(row.id.in_(bindparam("ids", expanding=True)))


# the rows -------------------------------------------------------------------------------------------------------------


def consent_row(image: Image, owner: Owner, permission: Permission, now: float) -> ConsentRow | None:
    """None where the replica made no copy."""
    if image.training_key is None or image.training_delete_at is None:
        return None
    return ConsentRow(
        id=parse_key(image.training_key).image_id,
        owner_kind=owner.kind,
        owner_id=owner.id,
        key=image.training_key,
        mode=permission.mode,
        ground=permission.terms.ground,
        given_at=int(now),
        delete_at=image.training_delete_at,
    )


def add_consent(db: Session, row: ConsentRow, word: Word) -> bool:
    """False where the session or account that could withdraw it is gone, or said no since the job was accepted at
    `word`."""
    if row.owner_kind is None:
        return False
    chooser = _CHOOSERS[row.owner_kind]
    said = db.execute(
        select(chooser.training, chooser.training_at)
        .where(chooser.id == row.owner_id)
        .with_for_update(read=True)  # a no that comes now waits, and then finds this row
    ).one_or_none()
    if said is None or (said.training == "deny" and Word(*said) != word):
        return False
    db.add(row)
    return True


def stands(now: float) -> ColumnElement[bool]:
    """Copies that may be used now: not withdrawn, not at their end, and their owner can still say no."""
    return and_(ConsentRow.withdrawn_at.is_(None), ConsentRow.delete_at > int(now), _has_owner())


def counts_under(mode: TrainingMode) -> ColumnElement[bool]:
    """Given under words no weaker than these: a yes that was said, silence where it still counts; never, none."""
    return false() if mode == "never" else or_(ConsentRow.mode == "opt_in", ConsentRow.mode == mode)


def copies_of(db: Session, owner: Owner) -> list[ConsentRow]:
    """Newest first."""
    return list(db.scalars(select(ConsentRow).where(owned(ConsentRow, owner)).order_by(ConsentRow.given_at.desc())))


def find_copy(db: Session, owner: Owner, image_id: str) -> ConsentRow | None:
    return db.scalar(select(ConsentRow).where(ConsentRow.id == image_id, owned(ConsentRow, owner)))


def count_copies(db: Session, owner: Owner) -> int:
    return db.scalar(select(func.count()).select_from(ConsentRow).where(owned(ConsentRow, owner))) or 0


def forget_consents(db: Session, now: float, limit: int = BATCH) -> int:
    """Rows whose end has come: the copy's own, whose object goes by its minute, or that of a withdrawn one."""
    ended = and_(ConsentRow.withdrawn_at.is_(None), ConsentRow.delete_at <= int(now))
    due = select(ConsentRow.id).where(or_(ended, ConsentRow.forget_at <= int(now))).limit(limit)
    return changed(db, delete(ConsentRow).where(ConsentRow.id.in_(due)))


def shorten_consents(db: Session, kept_for_s: float, limit: int = BATCH) -> int:
    """Those of copies that were made while the policy kept them for longer: how many. Their rows go sooner now, and
    then the copies, which nobody names any more."""
    longer = ConsentRow.delete_at > ConsentRow.given_at + int(kept_for_s) + ROUNDED_S
    due = select(ConsentRow.id).where(ConsentRow.withdrawn_at.is_(None), longer).limit(limit)
    sooner = update(ConsentRow).where(ConsentRow.id.in_(due)).values(delete_at=ConsentRow.given_at + int(kept_for_s))
    return changed(db, sooner.execution_options(synchronize_session=False))


# withdrawing ----------------------------------------------------------------------------------------------------------


async def withdraw(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> Withdrawn:
    """All copies that `which` names, of `ConsentRow`. Raises DatabaseUnavailable. Doing it twice does no harm.

    `forget_after_s`: how long the row of one that was exported stays.
    """
    mark = partial(mark_withdrawn, which=which, now=now, forget_after_s=forget_after_s)
    copies = await database.write(mark)
    return Withdrawn(copies, await finish_withdrawing(copies, store=store, database=database))


def mark_withdrawn(db: Session, which: ColumnElement[bool], now: float, forget_after_s: float) -> list[WithdrawnCopy]:
    """All of them that nobody had withdrawn before: no export has them from here on. The objects go next."""
    copies: list[WithdrawnCopy] = []
    while named := _mark(db, which, now, forget_after_s):
        copies += named
    return copies


async def finish_withdrawing(copies: Sequence[WithdrawnCopy], *, store: ObjectStore, database: Database) -> bool:
    """False where the store did not answer: the sweeper finishes. Raises DatabaseUnavailable."""
    for start in range(0, len(copies), BATCH):
        some = copies[start : start + BATCH]
        try:
            await store.delete([copy.key for copy in some])
        except StoreUnavailable:
            log.warning("the store does not answer: the sweeper will finish a withdrawal")
            return False
        await database.write(partial(_settle, ids=[copy.id for copy in some]))
    return True


async def withdraw_orphans(
    mode: TrainingMode, *, store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> Withdrawn:
    """Copies whose owner is gone, or whose consent does not count any more under the mode in force.

    Reads through all rows: for when sessions were, and now and then.
    """
    copies: list[WithdrawnCopy] = []
    is_complete = True
    while ids := await database.read(partial(_orphans, mode=mode)):
        withdrawn = await withdraw(
            ConsentRow.id.in_(ids), store=store, database=database, now=now, forget_after_s=forget_after_s
        )
        copies += withdrawn.copies
        is_complete &= withdrawn.is_complete
    return Withdrawn(copies, is_complete)


async def finish_withdrawals(*, store: ObjectStore, database: Database) -> int:
    """Those that the store did not let us finish: how many. Raises DatabaseUnavailable, StoreUnavailable."""
    finished = 0
    while begun := await database.read(_begun):
        await store.delete([copy.key for copy in begun])
        await database.write(partial(_settle, ids=[copy.id for copy in begun]))
        finished += len(begun)
    return finished


def _orphans(db: Session, mode: TrainingMode) -> list[str]:
    is_orphan = or_(and_(ConsentRow.owner_id.is_not(None), ~_has_owner()), ~counts_under(mode))
    orphans = select(ConsentRow.id).where(ConsentRow.withdrawn_at.is_(None), is_orphan)
    return list(db.scalars(orphans.limit(BATCH)))


def _has_owner() -> ColumnElement[bool]:
    """Ids are random: no account has that of a session."""
    return or_(*(exists().where(row.id == ConsentRow.owner_id) for row in _CHOOSERS.values()))


def _mark(db: Session, which: ColumnElement[bool], now: float, forget_after_s: float) -> list[WithdrawnCopy]:
    """Those that nobody had withdrawn before."""
    ids = select(ConsentRow.id).where(which, ConsentRow.withdrawn_at.is_(None)).order_by(ConsentRow.id).limit(BATCH)
    mark = (
        update(ConsentRow)
        .where(ConsentRow.id.in_(db.scalars(ids.with_for_update()).all()), ConsentRow.withdrawn_at.is_(None))
        .values(withdrawn_at=int(now), owner_kind=None, owner_id=None, forget_at=int(now + forget_after_s))
        .returning(*_COPY)
        .execution_options(synchronize_session=False)
    )
    return [WithdrawnCopy(*row) for row in db.execute(mark)]


def _begun(db: Session) -> list[WithdrawnCopy]:
    begun = select(*_COPY).where(ConsentRow.withdrawn_at.is_not(None), ConsentRow.key != "").limit(BATCH)
    return [WithdrawnCopy(*row) for row in db.execute(begun)]


def _settle(db: Session, ids: Collection[str]) -> None:
    """The objects are gone. What was never exported needs no row."""
    withdrawn = ConsentRow.id.in_(ids)
    quietly = {"synchronize_session": False}
    db.execute(delete(ConsentRow).where(withdrawn, ConsentRow.exported_at.is_(None)), execution_options=quietly)
    db.execute(update(ConsentRow).where(withdrawn).values(key=""), execution_options=quietly)
