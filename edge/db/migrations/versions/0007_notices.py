"""appeals, reports, the keys that they are sealed to, and decisions that were overturned"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "notice_key",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "appeal",
        *_common(),
        sa.Column("decision_id", ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary),
    )
    op.create_table(
        "notice",
        *_common(),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("sealed_contact", sa.LargeBinary),
    )
    for table in ("appeal", "notice"):
        for column in ("subject", "made_on", "due_at", "forget_at"):
            op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_index("ix_appeal_decision_id", "appeal", ["decision_id"])
    op.add_column("moderation_decision", sa.Column("overturned_at", sa.BigInteger))


def _common() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject", ID),
        sa.Column("made_on", sa.Date, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(8)),
        sa.Column("answer", sa.Text),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("forget_at", sa.BigInteger),
    ]


def downgrade() -> None:
    op.drop_column("moderation_decision", "overturned_at")
    for table in ("notice", "appeal", "notice_key"):
        op.drop_table(table)
