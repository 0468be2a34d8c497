"""passkeys, recovery codes and browsers that are signed in"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("credential_id", sa.LargeBinary(1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("created_on", sa.Date, nullable=False),
        sa.Column("last_used_on", sa.Date),
        sa.UniqueConstraint("credential_id", name="uq_passkey_credential_id"),
    )
    op.create_table(
        "recovery_code",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_on", sa.Date, nullable=False),
        sa.UniqueConstraint("digest", name="uq_recovery_code_digest"),
    )
    op.create_table(
        "sign_in",
        sa.Column("id", ID, primary_key=True),
        sa.Column("account_id", ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_on", sa.Date, nullable=False),
        sa.Column("last_used_on", sa.Date, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("digest", name="uq_sign_in_digest"),
    )
    op.create_index("ix_sign_in_ends_at", "sign_in", ["ends_at"])
    for table in ("passkey", "recovery_code", "sign_in"):
        op.create_index(f"ix_{table}_account_id", table, ["account_id"])


def downgrade() -> None:
    for table in ("sign_in", "recovery_code", "passkey"):
        op.drop_table(table)
