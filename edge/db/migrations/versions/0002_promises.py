"""prompts, day keys, consents, receipts, rights requests, canaries, and what the deleter says of itself"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(32)
NEW_TABLES = (
    "prompt", "day_key", "prompt_read", "consent", "receipt", "rights_request", "canary", "lease", "report",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("session", sa.Column("training", sa.String(8)))
    op.add_column("session", sa.Column("training_at", sa.BigInteger))
    op.add_column("image", sa.Column("on_download", sa.Boolean, nullable=False, server_default=sa.false()))

    op.create_table(
        "prompt",
        sa.Column("id", ID, primary_key=True),
        sa.Column("owner_kind", sa.String(8), nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("made_on", sa.Date, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("delete_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_prompt_owner", "prompt", ["owner_kind", "owner_id"])
    op.create_index("ix_prompt_job_id", "prompt", ["job_id"])
    op.create_index("ix_prompt_made_on", "prompt", ["made_on"])
    op.create_index("ix_prompt_delete_at", "prompt", ["delete_at"])

    op.create_table(
        "day_key",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
    )

    op.create_table(
        "prompt_read",
        sa.Column("id", ID, primary_key=True),
        sa.Column("prompt_id", ID, nullable=False),
        sa.Column("reader", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("read_at", sa.BigInteger, nullable=False),
        sa.Column("forget_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_prompt_read_forget_at", "prompt_read", ["forget_at"])

    op.create_table(
        "consent",
        sa.Column("id", ID, primary_key=True),
        sa.Column("owner_kind", sa.String(8)),
        sa.Column("owner_id", ID),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("ground", sa.String(32), nullable=False),
        sa.Column("given_at", sa.BigInteger, nullable=False),
        sa.Column("delete_at", sa.BigInteger, nullable=False),
        sa.Column("exported_at", sa.BigInteger),
        sa.Column("withdrawn_at", sa.BigInteger),
        sa.Column("forget_at", sa.BigInteger),
    )
    op.create_index("ix_consent_owner", "consent", ["owner_kind", "owner_id"])
    op.create_index("ix_consent_delete_at", "consent", ["delete_at"])
    op.create_index("ix_consent_withdrawn_at", "consent", ["withdrawn_at"])
    op.create_index("ix_consent_forget_at", "consent", ["forget_at"])

    op.create_table(
        "receipt",
        sa.Column("id", ID, primary_key=True),
        sa.Column("claims", sa.Text, nullable=False),
        sa.Column("keys", sa.Text),
        sa.Column("keys_until_at", sa.BigInteger, nullable=False),
        sa.Column("checked_at", sa.BigInteger),
        sa.Column("found", sa.Integer),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("forget_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_receipt_keys_until_at", "receipt", ["keys_until_at"])
    op.create_index("ix_receipt_forget_at", "receipt", ["forget_at"])

    op.create_table(
        "rights_request",
        sa.Column("id", ID, primary_key=True),
        sa.Column("owner_kind", sa.String(8)),
        sa.Column("owner_id", ID),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("law", sa.String(8), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("forget_at", sa.BigInteger),
    )
    op.create_index("ix_rights_request_owner", "rights_request", ["owner_kind", "owner_id"])
    op.create_index("ix_rights_request_due_at", "rights_request", ["due_at"])
    op.create_index("ix_rights_request_forget_at", "rights_request", ["forget_at"])

    op.create_table(
        "canary",
        sa.Column("id", ID, primary_key=True),
        sa.Column("class_days", sa.Integer, nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("planted_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("gone_at", sa.BigInteger),
        sa.Column("forget_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_canary_forget_at", "canary", ["forget_at"])

    op.create_table(
        "lease",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("holder", ID, nullable=False),
        sa.Column("until_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "report",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in NEW_TABLES:
        op.drop_table(table)
    op.drop_column("image", "on_download")
    op.drop_column("session", "training_at")
    op.drop_column("session", "training")
