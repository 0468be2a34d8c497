"""A person deletes: one picture, one generation, or all that is theirs. Each answers a receipt.

Erasing is `erasure.py`'s and `training.py`'s work; here it is decided what goes together, and said what stays and why.
All of it is marked or deleted in one transaction, and a receipt is written with it: from there on a receipt is sure,
whatever does not answer. Then the objects go and what is left in files, and the receipt says that it is done.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ConsentRow, ImageRow, JobRow, PromptRow, RightsRequestRow, SessionRow
from edge.db.statements import changed
from edge.domain import jobs
from edge.domain.accounts import erase_account, hold_account
from edge.domain.api_keys import KnownKeys
from edge.domain.complaints import take_sender_off
from edge.domain.conduct import Clock
from edge.domain.erasure import ErasedImage, finish_erasing, mark_erased
from edge.domain.events import Ended
from edge.domain.keyring import Keyring
from edge.domain.moderation.decisions import take_subject_off
from edge.domain.owner import JobId, Owner, owned
from edge.domain.prompts import erase_prompts
from edge.domain.receipts import (
    Claims,
    Counts,
    Retained,
    Scope,
    Signer,
    StoreErased,
    add_receipt,
    complete_receipt,
    new_receipt_id,
    watched,
)
from edge.domain.rights import complaints_end, ends_of
from edge.domain.runs import Runs
from edge.domain.sign_ins import KnownSignIns
from edge.domain.training import Withdrawn, WithdrawnCopy, choose, finish_withdrawing, mark_withdrawn, withdraw
from edge.errors import AccountGone, DatabaseUnavailable
from policies.schema import Kept, Policies
from serve_app.storage.store import ObjectStore

OWNERLESS_CONSENT = (
    "That an exported training copy was withdrawn: its id and times, so that exports drop it; no owner, no picture"
)
OWNERLESS_REQUEST = "A request that needs a person and its answer, without its sender"
OWNERLESS_NOTICE = "A report or an appeal and its answer, without its sender and how to reach them"
OVERWRITTEN = "rows are deleted and overwritten"
REUSED = "rows are deleted; the database overwrites their space and its log when it uses them again"


class Taken(Struct, frozen=True, kw_only=True):
    """What went in one transaction; of images and copies, the objects are still to go."""

    images: list[ErasedImage] = []
    copies: list[WithdrawnCopy] = []
    rows: Counts = Counts()
    stays: list[Retained] = []

    @property
    def counts(self) -> Counts:
        return replace(self.rows, images=len(self.images), training_copies=len(self.copies))


class Deletion(Struct, frozen=True):
    """The receipt as it was signed, and what it says in readable form."""

    receipt: str
    claims: Claims


Take = Callable[[Session], Taken]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """`issuer` is the address of this service, which receipts name. Everything raises DatabaseUnavailable, and then
    nothing was deleted.

    A store that does not answer is said in the receipt: nobody sees the picture again, and the deleter finishes.
    """

    issuer: str
    database: Database
    store: ObjectStore
    runs: Runs
    known_keys: KnownKeys
    known_sign_ins: KnownSignIns
    signer: Signer
    keyring: Keyring
    policies: Policies
    clock: Clock

    async def delete_image(self, image: ImageRow) -> Deletion:
        asked_at = self.clock()
        return await self._delete("image", asked_at, partial(self._take_image, image=image))

    async def delete_addressed(self, image: ImageRow) -> Deletion:
        """By whoever holds its address, who learns of the picture alone: not of its owner's copy, nor of the prompt."""
        asked_at = self.clock()
        return await self._delete("image", asked_at, partial(self._take_image, image=image), is_owner=False)

    async def delete_generation(self, job: JobRow) -> Deletion:
        """One that is under way is cancelled, and its bare state stays; one that has ended goes whole."""
        asked_at = self.clock()
        is_under_way = job.status in jobs.OPEN_STATES
        if is_under_way:
            await self._cancel([job])
        return await self._delete("generation", asked_at, partial(self._take_generation, job=job, stays=is_under_way))

    async def delete_owner(self, owner: Owner) -> Deletion:
        """All that erasure reaches. What is under way is cancelled. Doing it again finds nothing, and says so.

        A generation that starts meanwhile was not meant: until it has ended it stays, with its prompt and its session.
        """
        asked_at = self.clock()
        under_way = select(JobRow).where(owned(JobRow, owner), JobRow.status.in_(jobs.OPEN_STATES))
        await self._cancel(await self.database.read(lambda db: list(db.scalars(under_way))))
        deletion = await self._delete(owner.kind, asked_at, partial(self._take_all, owner=owner))
        self.runs.forget(owner)
        self.known_keys.forget_all_of(owner)
        self.known_sign_ins.forget_all_of(owner)
        return deletion

    async def delete_copy(self, copy: ConsentRow) -> Deletion:
        """For training, of a picture that may have gone before."""
        which = ConsentRow.id == copy.id
        return await self._delete("training", self.clock(), lambda db: Taken(copies=self._mark_withdrawn(db, which)))

    async def refuse_training(self, owner: Owner) -> Deletion | None:
        """A no is kept, and every copy taken back with it. None where there was none, and so no receipt."""
        begun = await self.database.write(partial(self._refuse_training, owner=owner, asked_at=self.clock()))
        return begun and await self._conclude(*begun)

    async def withdraw_copies(self, which: ColumnElement[bool]) -> Withdrawn:
        """Of `ConsentRow`, without a receipt."""
        return await withdraw(
            which, store=self.store, database=self.database, now=self.clock(), forget_after_s=self._keep_proof_s
        )

    async def _cancel(self, under_way: Sequence[JobRow]) -> None:
        """By the edge that looks after it; where that does not answer, by the row, which it meets when it writes."""
        await asyncio.gather(*(self._cancel_one(job) for job in under_way))

    async def _cancel_one(self, job: JobRow) -> None:
        await self.runs.cancel(JobId(job.id))
        ended = Ended("cancelled", "cancelled")
        ending = jobs.Ending(JobId(job.id), job.epoch, ended, self.clock(), self._forget_job_after_s)
        await self.database.write(jobs.ended(ending))

    # what goes together, in one transaction ---------------------------------------------------------------------------

    def _take_image(self, db: Session, image: ImageRow) -> Taken:
        images = self._mark_erased(db, ImageRow.id == image.id)
        copies = self._mark_withdrawn(db, ConsentRow.id == image.id)
        return Taken(images=images, copies=copies, stays=self._left_of_job(db, image.job_id))

    def _take_generation(self, db: Session, job: JobRow, *, stays: bool) -> Taken:
        images = self._mark_erased(db, ImageRow.job_id == job.id)
        made = select(ImageRow.id).where(ImageRow.job_id == job.id)
        copies = self._mark_withdrawn(db, ConsentRow.id.in_(made))
        generations = 0 if stays else jobs.delete_ended(db, JobRow.id == job.id)
        rows = Counts(generations=generations)
        return Taken(images=images, copies=copies, rows=rows, stays=self._left_of_job(db, job.id))

    def _take_all(self, db: Session, owner: Owner) -> Taken:
        """The account is held first, so that nothing comes to it meanwhile. The generations are named before the
        pictures: of each that goes, all pictures go with it.
        """
        if owner.kind == "account":
            with suppress(AccountGone):
                hold_account(db, owner)
        ended = jobs.ended_ids(db, owner)
        images = self._mark_erased(db, owned(ImageRow, owner))
        copies = self._mark_withdrawn(db, owned(ConsentRow, owner))
        subject = self.keyring.subject(owner)
        stays = [*self._left_of_requests(db, owner), *self._left_of_complaints(db, subject)]
        generations = jobs.delete_jobs(db, ended)
        accounts, api_keys = erase_account(db, owner)
        rows = Counts(
            generations=generations,
            prompts=erase_prompts(db, owner),
            sessions=_erase_session(db, owner),
            rights_requests=_take_sender_off(db, owner),
            moderation_decisions=take_subject_off(db, subject),
            notices=take_sender_off(db, subject),
            accounts=accounts,
            api_keys=api_keys,
        )
        return Taken(images=images, copies=copies, rows=rows, stays=stays)

    def _refuse_training(self, db: Session, owner: Owner, asked_at: float) -> tuple[Taken, Deletion] | None:
        choose(db, owner, "deny", asked_at)
        taken = Taken(copies=self._mark_withdrawn(db, owned(ConsentRow, owner)))
        return self._begin(db, "training", asked_at, lambda _: taken, is_owner=True) if taken.copies else None

    def _mark_erased(self, db: Session, which: ColumnElement[bool]) -> list[ErasedImage]:
        return mark_erased(db, which, self.clock(), self._forget_job_after_s)

    def _mark_withdrawn(self, db: Session, which: ColumnElement[bool]) -> list[WithdrawnCopy]:
        return mark_withdrawn(db, which, self.clock(), self._keep_proof_s)

    # the receipt ------------------------------------------------------------------------------------------------------

    async def _delete(self, scope: Scope, asked_at: float, take: Take, *, is_owner: bool = True) -> Deletion:
        begin = partial(self._begin, scope=scope, asked_at=asked_at, take=take, is_owner=is_owner)
        return await self._conclude(*await self.database.write(begin))

    async def _conclude(self, taken: Taken, deletion: Deletion) -> Deletion:
        try:
            return await self._finish(taken, deletion.claims)
        except DatabaseUnavailable:
            return deletion

    def _begin(
        self, db: Session, scope: Scope, asked_at: float, take: Take, *, is_owner: bool
    ) -> tuple[Taken, Deletion]:
        taken = take(db)
        told = taken if is_owner else Taken(images=taken.images)
        now = int(self.clock())
        forget_at = int(now + self._keep_proof_s)
        claims = Claims(
            iss=self.issuer,
            jti=new_receipt_id(),
            iat=now,
            scope=scope,
            requested_at=int(asked_at),
            completed_at=now,
            counts=told.counts,
            classes=_classes(told.counts),
            stores=self._stores(objects=False, rows=False),
            retained=[*told.stays, *self._left_as_proof(told, forget_at)],
            backups_gone_by=now + self.policies.retention.backups_days * 86_400,
            undisclosed=self.policies.retention.undisclosed,
        )
        keys = [watched(image.key, image.created_at) for image in taken.images]
        keys += [watched(copy.key, copy.given_at) for copy in taken.copies]
        signed = self.signer.sign(claims)
        add_receipt(db, claims, signed, keys, forget_at)
        return taken, Deletion(signed, claims)

    async def _finish(self, taken: Taken, begun: Claims) -> Deletion:
        """Raises DatabaseUnavailable: then the receipt stands as it was, and the sweeper finishes."""
        store, database = self.store, self.database
        is_gone = await finish_withdrawing(taken.copies, store=store, database=database)
        is_gone &= await finish_erasing(taken.images, store=store, database=database)
        stores = self._stores(objects=is_gone, rows=is_gone and await self._overwrite())
        now = int(self.clock())
        claims = replace(begun, iat=now, completed_at=now, stores=stores)
        signed = self.signer.sign(claims)
        await database.write(partial(complete_receipt, claims=claims, signed=signed))
        return Deletion(signed, claims)

    async def _overwrite(self) -> bool:
        """True also where the database does that later, in its own time: its receipts say so."""
        try:
            if self.database.overwrites:
                await self.database.compact()
        except DatabaseUnavailable:
            return False
        return True

    def _stores(self, *, objects: bool, rows: bool) -> list[StoreErased]:
        """The row of a picture goes after its object."""
        method = OVERWRITTEN if self.database.overwrites else REUSED
        return [
            StoreErased("object store", "each object is deleted under its key", objects),
            StoreErased("database", method, rows),
        ]

    # what stays -------------------------------------------------------------------------------------------------------

    def _left_of_job(self, db: Session, job_id: str) -> list[Retained]:
        kept = self.policies.retention.classes
        job = ends_of(db, JobRow.forget_at, JobRow.id == job_id)
        prompt = ends_of(db, PromptRow.delete_at, PromptRow.job_id == job_id)
        left = [("job_state", kept.job_state, job), ("moderation_prompt", kept.moderation_prompt, prompt)]
        return [_retained(name, each, ends.last_at) for name, each, ends in left if ends.count]

    def _left_of_requests(self, db: Session, owner: Owner) -> list[Retained]:
        """Nobody knows until when while one of them is not answered."""
        mine = owned(RightsRequestRow, owner)
        ends = ends_of(db, RightsRequestRow.forget_at, mine)
        waiting = ends_of(db, RightsRequestRow.due_at, mine & RightsRequestRow.forget_at.is_(None))
        until = None if waiting.count else ends.last_at
        kept = self.policies.retention.classes.rights_request
        return [_retained("rights_request", kept, until, OWNERLESS_REQUEST)] * bool(ends.count)

    def _left_of_complaints(self, db: Session, subject: str) -> list[Retained]:
        ends, kept = complaints_end(db, subject), self.policies.retention.classes.notice
        return [_retained("notice", kept, ends.last_at, OWNERLESS_NOTICE)] * bool(ends.count)

    def _left_as_proof(self, told: Taken, until: int) -> list[Retained]:
        kept = self.policies.retention.classes.proofs
        tombstone = [_retained("training_copy", kept, until, OWNERLESS_CONSENT)]
        has_tombstone = any(copy.exported_at is not None for copy in told.copies)
        return [*tombstone * has_tombstone, _retained("proofs", kept, until)]

    @property
    def _forget_job_after_s(self) -> float:
        return self.policies.retention.classes.job_state.duration_s

    @property
    def _keep_proof_s(self) -> float:
        return self.policies.retention.classes.proofs.duration_s


def _erase_session(db: Session, owner: Owner) -> int:
    """Unless something is being drawn for it: so long there is a choice about training, and a row that ends."""
    if owner.kind != "session":
        return 0
    draws = exists().where(owned(JobRow, owner), JobRow.status.in_(jobs.OPEN_STATES))
    return changed(db, delete(SessionRow).where(SessionRow.id == owner.id, ~draws))


def _take_sender_off(db: Session, owner: Owner) -> int:
    mine = update(RightsRequestRow).where(owned(RightsRequestRow, owner))
    return changed(db, mine.values(owner_kind=None, owner_id=None))


def _retained(name: str, kept: Kept, until: int | None, what: str | None = None) -> Retained:
    return Retained(class_=name, what=what or kept.what, why=kept.why, law=kept.ground, until=until)


def _classes(counts: Counts) -> list[str]:
    """Of `retention.toml`, those that something was removed from."""
    reached = [
        ("output_image", counts.images),
        ("job_and_image_rows", counts.images),
        ("job_state", counts.generations),
        ("moderation_prompt", counts.prompts),
        ("training_copy", counts.training_copies),
        ("session", counts.sessions),
        ("account", counts.accounts),
        ("rights_request", counts.rights_requests),
        ("moderation_decision", counts.moderation_decisions),
        ("notice", counts.notices),
    ]
    return [name for name, count in reached if count]
