"""Whether a cluster answers, and when it is asked again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clusters", sa.Column("away_until", sa.DateTime(timezone=True)))
    op.add_column("clusters", sa.Column("away_attempts", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column("clusters", sa.Column("away_reason", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("away_reason", "away_attempts", "away_until"):
        op.drop_column("clusters", name)
