"""What a session has made becomes an account's, where its person says so: pictures, jobs, prompt records, copies, and
what was refused, reported and objected to.

Addresses keep working, for they carry what opens a picture. So that the account can ask for them again, the session's
viewing secret is wrapped for it, and the rows of the pictures name that. The session is over then: its row says when,
so that nothing is made for it any more that nobody could reach.
"""

from typing import get_args

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from edge.db.rows import AccountRow, ConsentRow, ImageRow, JobRow, PromptRow, RightsRequestRow, SessionRow, SubjectRow
from edge.domain import jobs
from edge.domain.accounts import hold_account
from edge.domain.keyring import Keyring
from edge.domain.owner import Caller, Owner, owned
from edge.domain.sessions import end_session
from edge.domain.training import WithdrawnCopy, mark_withdrawn
from edge.domain.viewing_secrets import add_brought_secret, forget_unused_secrets


class StillDrawing(Exception):
    """What is being drawn would be written down as the session's."""


def lift(
    db: Session, session: Caller, account: Owner, keyring: Keyring, now: float, proofs_kept_for_s: float
) -> list[WithdrawnCopy]:
    """The copies for training that came along to an account that says no: withdrawn, and their objects go next.

    Raises StillDrawing, AccountGone.
    """
    hold_account(db, account)
    owner = session.owner
    choice = _choice_of(db, owner)
    end_session(db, owner, now)  # first: who accepts a job for it meanwhile, waits, and is refused
    if db.scalar(select(exists().where(owned(JobRow, owner), JobRow.status.in_(jobs.OPEN_STATES)))):
        raise StillDrawing
    forget_unused_secrets(db, account)
    if db.scalar(select(exists().where(owned(ImageRow, owner)))):
        secret_id = add_brought_secret(db, account.id, session.viewing_secret, keyring)
        db.execute(update(ImageRow).where(owned(ImageRow, owner)).values(viewing_secret_id=secret_id))
    for row in (ImageRow, JobRow, PromptRow, ConsentRow, RightsRequestRow):
        db.execute(update(row).where(owned(row, owner)).values(owner_kind=account.kind, owner_id=account.id))
    for row in get_args(SubjectRow):
        was, is_now = keyring.subject(owner), keyring.subject(account)
        db.execute(update(row).where(row.subject == was).values(subject=is_now))
    says_no = _carry_choice(db, choice, account)
    return mark_withdrawn(db, owned(ConsentRow, account), now, proofs_kept_for_s) if says_no else []


def _choice_of(db: Session, session: Owner) -> tuple[str | None, int | None]:
    query = select(SessionRow.training, SessionRow.training_at).where(SessionRow.id == session.id).with_for_update()
    said = db.execute(query).first()
    return (said.training, said.training_at) if said else (None, None)


def _carry_choice(db: Session, choice: tuple[str | None, int | None], account: Owner) -> bool:
    """The account's own word stands; where it has said nothing, the session's holds from here on. True for a no."""
    mine = db.get_one(AccountRow, account.id)
    if mine.training is None and choice[0] is not None:
        mine.training, mine.training_at = choice
    return mine.training == "deny"
