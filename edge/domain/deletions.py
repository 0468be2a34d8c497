"""A person deletes: one picture, one generation, or all that is theirs. Each answers a receipt.

Erasing is `erasure.py`'s and `training.py`'s work; here it is decided what goes together, and said what stays and why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session

from edge.db.database import Database
from edge.db.rows import ConsentRow, ImageRow, JobRow, PromptRow, RightsRequestRow, SessionRow
from edge.db.statements import changed
from edge.domain import jobs
from edge.domain.conduct import Clock
from edge.domain.erasure import Erased, erase_for_caller
from edge.domain.events import Ended
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
    new_receipt_id,
    watched,
)
from edge.domain.runs import Runs
from edge.domain.training import Withdrawn, withdraw
from policies.schema import Policies
from serve_app.storage.store import ObjectStore

OWNERLESS_CONSENT = (
    "That an exported training copy was withdrawn: its id and times, so that exports drop it; no owner, no picture"
)
OWNERLESS_REQUEST = "A request that needs a person and its answer, without its sender; 180 days after it was answered"


class Gone(Struct, frozen=True):
    """What has left the store before the receipt is written; rows go in the same transaction with it."""

    scope: Scope
    requested_at: int
    erased: Erased
    withdrawn: Withdrawn


class Deletion(Struct, frozen=True):
    """The receipt as it was signed, and what it says in readable form."""

    receipt: str
    claims: Claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """`issuer` is the address of this service, which receipts name. Everything raises DatabaseUnavailable.

    A store that does not answer is said in the receipt: nobody sees the picture again, and the deleter finishes.
    """

    issuer: str
    database: Database
    store: ObjectStore
    runs: Runs
    signer: Signer
    policies: Policies
    clock: Clock

    async def delete_image(self, image: ImageRow) -> Deletion:
        asked_at = self.clock()
        gone = await self._take_away("image", asked_at, ImageRow.id == image.id, ConsentRow.id == image.id)
        stays = partial(self._left_of_jobs, job_ids=[image.job_id])
        return await self._conclude(gone, erase_rows=lambda _: Counts(), stays=stays)

    async def delete_generation(self, job: JobRow) -> Deletion:
        """One that is under way is cancelled, and its bare state stays; one that has ended goes whole."""
        asked_at = self.clock()
        is_under_way = job.status in jobs.OPEN_STATES
        if is_under_way:
            await self._cancel([job])
        made = select(ImageRow.id).where(ImageRow.job_id == job.id)
        image_ids = await self.database.read(lambda db: list(db.scalars(made)))
        gone = await self._take_away("generation", asked_at, ImageRow.job_id == job.id, ConsentRow.id.in_(image_ids))
        stays = partial(self._left_of_jobs, job_ids=[job.id])
        ended = JobRow.id == job.id
        erase_rows: Callable[[Session], Counts] = (
            (lambda _: Counts()) if is_under_way else (lambda db: Counts(generations=jobs.delete_ended(db, ended)))
        )
        return await self._conclude(gone, erase_rows=erase_rows, stays=stays)

    async def delete_owner(self, owner: Owner) -> Deletion:
        """All that erasure reaches. What is under way is cancelled. Doing it again finds nothing, and says so."""
        asked_at = self.clock()
        under_way = select(JobRow).where(owned(JobRow, owner), JobRow.status.in_(jobs.OPEN_STATES))
        await self._cancel(await self.database.read(lambda db: list(db.scalars(under_way))))
        gone = await self._take_away(owner.kind, asked_at, owned(ImageRow, owner), owned(ConsentRow, owner))
        requests = await self.database.read(partial(_requests_left, owner=owner))
        deletion = await self._conclude(
            gone, erase_rows=partial(_erase_rows_of, owner=owner), stays=lambda _: self._left_of_requests(requests)
        )
        self.runs.forget(owner)
        await self.database.compact()
        return deletion

    async def withdraw_all_copies(self, owner: Owner) -> Deletion | None:
        """For a no to training; None where there was no copy, and nothing to give a receipt for."""
        asked_at = int(self.clock())
        withdrawn = await self.withdraw_copies(owned(ConsentRow, owner))
        if not withdrawn.copies:
            return None
        gone = Gone("training", asked_at, Erased([], 0), withdrawn)
        return await self._conclude(gone, erase_rows=lambda _: Counts(), stays=lambda _: [])

    async def withdraw_copies(self, which: ColumnElement[bool]) -> Withdrawn:
        """Of `ConsentRow`, without a receipt."""
        return await withdraw(
            which, store=self.store, database=self.database, now=self.clock(), forget_after_s=self._keep_proof_s
        )

    async def _cancel(self, under_way: Sequence[JobRow]) -> None:
        """Here by its task, elsewhere by its row: the edge that looks after it hears of it when it writes."""
        for job in under_way:
            if run := self.runs.find(job.id):
                run.cancel()
                await run.finished()
            ended = Ended("cancelled", "cancelled")
            ending = jobs.Ending(JobId(job.id), job.epoch, ended, self.clock(), self._forget_job_after_s)
            await self.database.write(jobs.ended(ending))

    async def _take_away(
        self, scope: Scope, asked_at: float, images: ColumnElement[bool], copies: ColumnElement[bool]
    ) -> Gone:
        store, database = self.store, self.database
        withdrawn = await self.withdraw_copies(copies)  # first: an image that is gone names its copy no more
        erased = await erase_for_caller(
            images, store=store, database=database, now=self.clock(), forget_after_s=self._forget_job_after_s
        )
        return Gone(scope, int(asked_at), erased, withdrawn)

    async def _conclude(
        self, gone: Gone, *, erase_rows: Callable[[Session], Counts], stays: Callable[[Session], list[Retained]]
    ) -> Deletion:
        return await self.database.write(partial(self._write, gone=gone, erase_rows=erase_rows, stays=stays))

    def _write(
        self,
        db: Session,
        gone: Gone,
        erase_rows: Callable[[Session], Counts],
        stays: Callable[[Session], list[Retained]],
    ) -> Deletion:
        rows = erase_rows(db)
        now = int(self.clock())
        forget_at = int(now + self._keep_proof_s)
        claims = Claims(
            iss=self.issuer,
            jti=new_receipt_id(),
            iat=now,
            scope=gone.scope,
            requested_at=gone.requested_at,
            completed_at=now,
            counts=_all_counts(gone, rows),
            classes=_classes(_all_counts(gone, rows)),
            stores=_stores(gone),
            retained=[*stays(db), *self._left_as_proof(db, gone, forget_at)],
            backups_gone_by=now + self.policies.retention.backups_days * 86_400,
            undisclosed=self.policies.retention.undisclosed,
        )
        keys = [watched(image.key, image.created_at) for image in gone.erased.images]
        keys += [watched(copy.key, copy.given_at) for copy in gone.withdrawn.copies]
        add_receipt(db, claims, keys, forget_at)
        return Deletion(self.signer.sign(claims), claims)

    def _left_of_jobs(self, db: Session, job_ids: Sequence[str]) -> list[Retained]:
        kept = self.policies.retention.classes
        left = (
            ("job_state", kept.job_state, JobRow.forget_at, JobRow.id.in_(job_ids)),
            ("moderation_prompt", kept.moderation_prompt, PromptRow.delete_at, PromptRow.job_id.in_(job_ids)),
        )
        found = [(name, each, _count_and_end(db, end_at, which)) for name, each, end_at, which in left]
        return [
            Retained(class_=name, what=each.what, why=each.why, law=each.ground, until=until)
            for name, each, (count, until) in found
            if count
        ]

    def _left_of_requests(self, requests: tuple[int, int | None]) -> list[Retained]:
        count, until = requests
        kept = self.policies.retention.classes.rights_request
        name = "rights_request"
        return [Retained(class_=name, what=OWNERLESS_REQUEST, why=kept.why, law=kept.ground, until=until)] * bool(count)

    def _left_as_proof(self, db: Session, gone: Gone, until: int) -> list[Retained]:
        kept = self.policies.retention.classes.proofs
        withdrawn = ConsentRow.id.in_([copy.id for copy in gone.withdrawn.copies])
        has_tombstone, _ = _count_and_end(db, ConsentRow.forget_at, withdrawn)
        whats = [("training_copy", OWNERLESS_CONSENT)] if has_tombstone else []
        return [
            Retained(class_=name, what=what, why=kept.why, law=kept.ground, until=until)
            for name, what in [*whats, ("proofs", kept.what)]
        ]

    @property
    def _forget_job_after_s(self) -> float:
        return self.policies.retention.classes.job_state.duration.total_seconds()

    @property
    def _keep_proof_s(self) -> float:
        return self.policies.retention.classes.proofs.duration.total_seconds()


def _erase_rows_of(db: Session, owner: Owner) -> Counts:
    requests = update(RightsRequestRow).where(owned(RightsRequestRow, owner)).values(owner_kind=None, owner_id=None)
    is_session = owner.kind == "session"
    return Counts(
        generations=jobs.delete_ended(db, owned(JobRow, owner)),
        prompts=erase_prompts(db, owner),
        sessions=changed(db, delete(SessionRow).where(SessionRow.id == owner.id)) if is_session else 0,
        rights_requests=changed(db, requests),
    )


def _requests_left(db: Session, owner: Owner) -> tuple[int, int | None]:
    """How many, and when the last of them goes; None while one of them is not answered."""
    count, until = _count_and_end(db, RightsRequestRow.forget_at, owned(RightsRequestRow, owner))
    is_open = owned(RightsRequestRow, owner) & RightsRequestRow.forget_at.is_(None)
    return count, None if db.scalar(select(func.count()).where(is_open)) else until


def _count_and_end(
    db: Session, end_at: Mapped[int] | Mapped[int | None] | InstrumentedAttribute[int], which: ColumnElement[bool]
) -> tuple[int, int | None]:
    count, until = db.execute(select(func.count(), func.max(end_at)).where(which)).one()
    return count, until


def _all_counts(gone: Gone, rows: Counts) -> Counts:
    return Counts(
        images=len(gone.erased.images),
        generations=rows.generations,
        prompts=rows.prompts,
        training_copies=len(gone.withdrawn.copies),
        sessions=rows.sessions,
        rights_requests=rows.rights_requests,
    )


def _classes(counts: Counts) -> list[str]:
    """Of `retention.toml`, those that something was removed from."""
    reached = [
        ("output_image", counts.images),
        ("job_and_image_rows", counts.images),
        ("job_state", counts.generations),
        ("moderation_prompt", counts.prompts),
        ("training_copy", counts.training_copies),
        ("session", counts.sessions),
        ("rights_request", counts.rights_requests),
    ]
    return [name for name, count in reached if count]


def _stores(gone: Gone) -> list[StoreErased]:
    """Rows are gone once the receipt can be read: both are one transaction."""
    is_done = gone.erased.is_complete and gone.withdrawn.is_complete
    objects = StoreErased("object store", "each object is deleted under its key", is_done)
    return [objects, StoreErased("database", "rows are deleted and overwritten", True)]
