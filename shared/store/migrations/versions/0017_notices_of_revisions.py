"""How often notices of a cluster have had a revision observed lately."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("notice_budget_full_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("deployments", "notice_budget_full_at")
