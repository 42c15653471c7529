"""Whether a cluster answers, and whether it takes new workloads."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clusters", sa.Column("away_until", sa.DateTime(timezone=True)))
    op.add_column("clusters", sa.Column("away_attempts", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("clusters", sa.Column("away_reason", sa.Text, nullable=False, server_default=""))
    op.add_column("clusters", sa.Column("cordoned_at", sa.DateTime(timezone=True)))
    op.add_column("clusters", sa.Column("lost_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for name in ("lost_at", "cordoned_at", "away_reason", "away_attempts", "away_until"):
        op.drop_column("clusters", name)
