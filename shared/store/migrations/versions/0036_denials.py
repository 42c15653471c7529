"""Denials that are counted and have no row of the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "denials",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("subjects", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("entry", postgresql.JSONB, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("counted", "earlier")),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "updated_at")
        ),
    )
    op.create_index("ix_denials_updated_at", "denials", ["updated_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON denials TO sentinel_app")


def downgrade() -> None:
    op.drop_table("denials")
