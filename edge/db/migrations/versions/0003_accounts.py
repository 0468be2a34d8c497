"""accounts, their keys and viewing secrets; the rotation of sessions"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(32)


def upgrade() -> None:
    op.add_column("session", sa.Column("rotation", sa.Integer, nullable=False, server_default="0"))
    op.add_column("session", sa.Column("rotated_at", sa.BigInteger))
    op.add_column("session", sa.Column("ended_at", sa.BigInteger))
    op.add_column("image", sa.Column("viewing_secret_id", ID))

    op.create_table(
        "account",
        sa.Column("id", ID, primary_key=True),
        sa.Column("plan", sa.String(64), nullable=False),
        sa.Column("created_on", sa.Date, nullable=False),
        sa.Column("training", sa.String(8)),
        sa.Column("training_at", sa.BigInteger),
    )
    op.create_table(
        "viewing_secret",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_viewing_secret_account_id", "viewing_secret", ["account_id"])
    op.create_table(
        "api_key",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("hint", sa.String(24), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("created_on", sa.Date, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_on", sa.Date),
        sa.Column("revoked_at", sa.BigInteger),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
    )
    op.create_index("ix_api_key_account_id", "api_key", ["account_id"])


def downgrade() -> None:
    for table in ("api_key", "viewing_secret", "account"):
        op.drop_table(table)
    op.drop_column("image", "viewing_secret_id")
    for column in ("ended_at", "rotated_at", "rotation"):
        op.drop_column("session", column)
