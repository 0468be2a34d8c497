"""erased images lose owner and seed before their object is gone; receipts are kept as they were signed"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BLANKED = {"owner_kind": sa.String(8), "owner_id": sa.String(32), "seed": sa.BigInteger}


def upgrade() -> None:
    """A receipt from before is not shown any more, for only its words were kept; its objects are still looked for."""
    with op.batch_alter_table("image") as image:
        for name, kind in BLANKED.items():
            image.alter_column(name, existing_type=kind, nullable=True)
    op.drop_index("ix_receipt_keys_until_at", "receipt")
    op.add_column("receipt", sa.Column("signed", sa.Text, nullable=False, server_default=""))
    op.add_column("receipt", sa.Column("look_at", sa.BigInteger))
    op.drop_column("receipt", "claims")
    op.execute("UPDATE receipt SET look_at = issued_at WHERE keys IS NOT NULL")
    op.create_index("ix_receipt_look_at", "receipt", ["look_at"])


def downgrade() -> None:
    """What has no owner or seed is being erased, and stays blank."""
    op.drop_index("ix_receipt_look_at", "receipt")
    op.add_column("receipt", sa.Column("claims", sa.Text, nullable=False, server_default="{}"))
    op.drop_column("receipt", "look_at")
    op.drop_column("receipt", "signed")
    op.create_index("ix_receipt_keys_until_at", "receipt", ["keys_until_at"])
