"""decisions about prompts"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "moderation_decision",
        sa.Column("id", ID, primary_key=True),
        sa.Column("subject", ID),
        sa.Column("stage", sa.String(8), nullable=False),
        sa.Column("category", sa.String(64), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("policy_version", sa.Integer, nullable=False),
        sa.Column("decided_on", sa.Date, nullable=False),
        sa.Column("delete_at", sa.BigInteger, nullable=False),
    )
    for column in ("subject", "delete_at"):
        op.create_index(f"ix_moderation_decision_{column}", "moderation_decision", [column])


def downgrade() -> None:
    op.drop_table("moderation_decision")
