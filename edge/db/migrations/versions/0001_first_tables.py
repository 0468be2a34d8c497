"""first tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "session",
        sa.Column("id", ID, primary_key=True),
        sa.Column("last_used_on", sa.Date, nullable=False),
    )
    op.create_index("ix_session_last_used_on", "session", ["last_used_on"])

    op.create_table(
        "job",
        sa.Column("id", ID, primary_key=True),
        sa.Column("owner_kind", sa.String(8), nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("images_asked", sa.Integer, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_until_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("error_code", sa.String(40)),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("forget_at", sa.BigInteger),
    )
    op.create_index("ix_job_owner", "job", ["owner_kind", "owner_id", "created_at"])
    op.create_index("ix_job_lease", "job", ["status", "lease_until_at"])
    op.create_index("ix_job_forget_at", "job", ["forget_at"])

    op.create_table(
        "image",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("owner_kind", sa.String(8), nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("guidance", sa.Float, nullable=False),
        sa.Column("width_px", sa.Integer, nullable=False),
        sa.Column("height_px", sa.Integer, nullable=False),
        sa.Column("native_width_px", sa.Integer, nullable=False),
        sa.Column("native_height_px", sa.Integer, nullable=False),
        sa.Column("output_format", sa.String(8), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("delete_at", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("erased_at", sa.BigInteger),
    )
    op.create_index("ix_image_job_id", "image", ["job_id"])
    op.create_index("ix_image_owner", "image", ["owner_kind", "owner_id", "created_at"])
    op.create_index("ix_image_delete_at", "image", ["delete_at"])
    op.create_index("ix_image_erased_at", "image", ["erased_at"])


def downgrade() -> None:
    for table in ("image", "job", "session"):
        op.drop_table(table)
