"""The tables. A prompt is in `prompt` alone, sealed; seed and settings are in the image row alone and go with it.

Ids are 32 hex digits. Times end in `_at` and are Unix seconds; days end in `_on` and are UTC. Addresses are never
stored: an image row holds a digest. Each table is named by a class of `retention.toml`, which says how long rows stay.
"""

from datetime import date

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

Base = DefaultBase
Id = String(32)


class SessionRow(Base):
    """An anonymous session that something was made for. `training` is its choice and when it was made, if it was: later
    than the one before, whatever the clock says.

    `rotation`: the newest token that was issued for it, since `rotated_at`; `ended_at`: an older one came back, or
    the session became an account.
    """

    __tablename__ = "session"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    last_used_on: Mapped[date] = mapped_column(index=True)
    training: Mapped[str | None] = mapped_column(String(8), default=None)
    training_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    rotation: Mapped[int] = mapped_column(default=0, server_default="0")
    rotated_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)


class AccountRow(Base):
    """Who has keys or passkeys: a random id, a plan of `plans.toml`, a choice about training as a session has one."""

    __tablename__ = "account"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    plan: Mapped[str] = mapped_column(String(64))
    created_on: Mapped[date]
    training: Mapped[str | None] = mapped_column(String(8), default=None)
    training_at: Mapped[int | None] = mapped_column(BigInteger, default=None)


class ViewingSecretRow(Base):
    """What opens an account's pictures, wrapped under a key that is not here. Its own has the id of the account; the
    others came with sessions that were brought along."""

    __tablename__ = "viewing_secret"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, index=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)


class ApiKeyRow(Base):
    """A key, of which only a digest is here, and `hint`: its beginning and its end, so that people know it again."""

    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    hint: Mapped[str] = mapped_column(String(24))
    name: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[str] = mapped_column(String(100))
    created_on: Mapped[date]
    expires_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    last_used_on: Mapped[date | None] = mapped_column(default=None)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger, default=None)


class PasskeyRow(Base):
    """A way into an account: the public half of what lies in its owner's device. `sign_count` is the device's own."""

    __tablename__ = "passkey"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, index=True)
    credential_id: Mapped[bytes] = mapped_column(LargeBinary(1023), unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    label: Mapped[str] = mapped_column(String(100))
    created_on: Mapped[date]
    last_used_on: Mapped[date | None] = mapped_column(default=None)


class RecoveryCodeRow(Base):
    """A code that works once, of which only a digest is here. The row goes when it is used."""

    __tablename__ = "recovery_code"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_on: Mapped[date]


class SignInRow(Base):
    """A browser that is signed in, until `ends_at`. Of its cookie only a digest is here."""

    __tablename__ = "sign_in"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    account_id: Mapped[str] = mapped_column(Id, index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_on: Mapped[date]
    last_used_on: Mapped[date]
    ends_at: Mapped[int] = mapped_column(BigInteger, index=True)


class JobRow(Base):
    """The bare state of a generation. `images_asked` is how many; the rest of what was asked is not here."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_owner", "owner_kind", "owner_id", "created_at"),
        Index("ix_job_lease", "status", "lease_until_at"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_kind: Mapped[str] = mapped_column(String(8))
    owner_id: Mapped[str] = mapped_column(Id)
    model: Mapped[str] = mapped_column(String(64))
    images_asked: Mapped[int]
    status: Mapped[str] = mapped_column(String(12))
    epoch: Mapped[int] = mapped_column(default=1)
    lease_until_at: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    error_code: Mapped[str | None] = mapped_column(String(40), default=None)
    truncated: Mapped[bool] = mapped_column(default=False)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class ImageRow(Base):
    """A stored image: where it lies, when it goes and how it was made. `erased_at` is set before its object goes, and
    then it has no owner. It has no seed once a picture of the same job has gone: that one's would follow from it.

    `delete_at` may be sooner than the minute in the key; `on_download`: the first whole download makes it so.
    `viewing_secret_id`: which of the owner's it was made under; None for the owner's own.
    """

    __tablename__ = "image"
    __table_args__ = (Index("ix_image_owner", "owner_kind", "owner_id", "created_at"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, index=True)
    owner_kind: Mapped[str | None] = mapped_column(String(8))
    owner_id: Mapped[str | None] = mapped_column(Id)
    model: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    steps: Mapped[int]
    guidance: Mapped[float]
    width_px: Mapped[int]
    height_px: Mapped[int]
    native_width_px: Mapped[int]
    native_height_px: Mapped[int]
    output_format: Mapped[str] = mapped_column(String(8))
    key: Mapped[str] = mapped_column(String(128))
    delete_at: Mapped[int] = mapped_column(BigInteger, index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[int] = mapped_column(BigInteger)
    erased_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)
    on_download: Mapped[bool] = mapped_column(default=False)
    viewing_secret_id: Mapped[str | None] = mapped_column(Id, default=None)


class PromptRow(Base):
    """What was asked, sealed to the key of the day `made_on`; it holds neither seed nor settings."""

    __tablename__ = "prompt"
    __table_args__ = (Index("ix_prompt_owner", "owner_kind", "owner_id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_kind: Mapped[str] = mapped_column(String(8))
    owner_id: Mapped[str] = mapped_column(Id)
    job_id: Mapped[str] = mapped_column(Id, index=True)
    made_on: Mapped[date] = mapped_column(index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    delete_at: Mapped[int] = mapped_column(BigInteger, index=True)


class ModerationDecisionRow(Base):
    """That a prompt or a picture was refused, and why; neither of them. Its id is the reference that was told.
    `subject`: an HMAC of whose it was, until they erase what is theirs. `policy_version`: of `moderation.toml`.
    `overturned_at`: a person found that it was wrong."""

    __tablename__ = "moderation_decision"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject: Mapped[str | None] = mapped_column(Id, index=True)
    stage: Mapped[str] = mapped_column(String(8))
    category: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str] = mapped_column(String(64))
    policy_version: Mapped[int]
    decided_on: Mapped[date]
    delete_at: Mapped[int] = mapped_column(BigInteger, index=True)
    overturned_at: Mapped[int | None] = mapped_column(BigInteger, default=None)


class DayKeyRow(Base):
    """The public half of a day's key. The private half is a file outside the database."""

    __tablename__ = "day_key"

    day: Mapped[date] = mapped_column(primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))


class NoticeKeyRow(Base):
    """The same for what appeals and reports say, which stays for longer than prompts: a key pair of its own."""

    __tablename__ = "notice_key"

    day: Mapped[date] = mapped_column(primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))


class PromptReadRow(Base):
    """A person read a sealed record, of a prompt, an appeal or a report: who, why, when. Written before it is shown."""

    __tablename__ = "prompt_read"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    prompt_id: Mapped[str] = mapped_column(Id)
    reader: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(200))
    read_at: Mapped[int] = mapped_column(BigInteger)
    forget_at: Mapped[int] = mapped_column(BigInteger, index=True)


class ConsentRow(Base):
    """A training copy, and on what ground it was made. Its id is the image's. `mode` is the policy's, or `opt_in` where
    somebody said yes.

    A withdrawn one has lost its owner, and its `key` is empty once its object went. Where it was exported before, it
    stays until `forget_at` to say what the exports must drop.
    """

    __tablename__ = "consent"
    __table_args__ = (Index("ix_consent_owner", "owner_kind", "owner_id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_kind: Mapped[str | None] = mapped_column(String(8))
    owner_id: Mapped[str | None] = mapped_column(Id)
    key: Mapped[str] = mapped_column(String(128))
    mode: Mapped[str] = mapped_column(String(8))
    ground: Mapped[str] = mapped_column(String(32))
    given_at: Mapped[int] = mapped_column(BigInteger)
    delete_at: Mapped[int] = mapped_column(BigInteger, index=True)
    exported_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    withdrawn_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class ReceiptRow(Base):
    """A receipt as it was signed, and the objects that it says are gone until they have been looked for often enough.

    `look_at`: when they are to be looked for again; None once `keys` is. `found`: how many of them the last look still
    found; None before the first.
    """

    __tablename__ = "receipt"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    signed: Mapped[str] = mapped_column(Text)
    keys: Mapped[str | None] = mapped_column(Text, default=None)
    keys_until_at: Mapped[int] = mapped_column(BigInteger)
    look_at: Mapped[int | None] = mapped_column(BigInteger, index=True)
    checked_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    found: Mapped[int | None] = mapped_column(default=None)
    issued_at: Mapped[int] = mapped_column(BigInteger)
    forget_at: Mapped[int] = mapped_column(BigInteger, index=True)


class RightsRequestRow(Base):
    """A request that needs a person. `due_at` is the law's clock; an erasure takes the owner off it."""

    __tablename__ = "rights_request"
    __table_args__ = (Index("ix_rights_request_owner", "owner_kind", "owner_id"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    owner_kind: Mapped[str | None] = mapped_column(String(8))
    owner_id: Mapped[str | None] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(16))
    law: Mapped[str] = mapped_column(String(8))
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[int] = mapped_column(BigInteger, index=True)
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    closed_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class AppealRow(Base):
    """An objection to a decision. `subject`: as the decision has it, until they erase what is theirs. `sealed`: what
    they said, if anything, to the key of the day `made_on`. `outcome`: upheld or rejected, once it is closed."""

    __tablename__ = "appeal"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject: Mapped[str | None] = mapped_column(Id, index=True)
    made_on: Mapped[date] = mapped_column(index=True)
    decision_id: Mapped[str] = mapped_column(Id, index=True)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    created_at: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[int] = mapped_column(BigInteger, index=True)
    outcome: Mapped[str | None] = mapped_column(String(8), default=None)
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    closed_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class NoticeRow(Base):
    """A report of pictures. Their addresses open them, so they are in `sealed` with what was said; how to reach the
    sender is sealed apart, since it goes with an erasure. `found`: `here` or `gone` for each address, when it came."""

    __tablename__ = "notice"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    subject: Mapped[str | None] = mapped_column(Id, index=True)
    made_on: Mapped[date] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(String(24))
    found: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_contact: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    created_at: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[int] = mapped_column(BigInteger, index=True)
    outcome: Mapped[str | None] = mapped_column(String(8), default=None)
    answer: Mapped[str | None] = mapped_column(Text, default=None)
    closed_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    forget_at: Mapped[int | None] = mapped_column(BigInteger, index=True, default=None)


class CanaryRow(Base):
    """A canary in the store: when it was planted, by when the store's rule must have removed it, when it was gone."""

    __tablename__ = "canary"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    class_days: Mapped[int]
    key: Mapped[str] = mapped_column(String(128))
    planted_at: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[int] = mapped_column(BigInteger)
    gone_at: Mapped[int | None] = mapped_column(BigInteger, default=None)
    forget_at: Mapped[int] = mapped_column(BigInteger, index=True)


class LeaseRow(Base):
    """Who does what only one may do at a time, and until when unless it is renewed."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    holder: Mapped[str] = mapped_column(Id)
    until_at: Mapped[int] = mapped_column(BigInteger)


class ReportRow(Base):
    """The newest report of a part of the deleter, as JSON: counts and times for `/privacy/status`."""

    __tablename__ = "report"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger)


OwnedRow = JobRow | ImageRow | PromptRow | ConsentRow | RightsRequestRow  # every table with `owner_kind`, `owner_id`
SubjectRow = ModerationDecisionRow | AppealRow | NoticeRow  # every table that knows its owner as an HMAC alone
