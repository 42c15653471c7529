"""An index of the rollouts that go on: the metrics say how old the oldest is."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    condition = sa.text("status = 'verifying'")
    op.create_index("ix_deployments_verifying", "deployments", ["applied_at"], postgresql_where=condition)


def downgrade() -> None:
    op.drop_index("ix_deployments_verifying", table_name="deployments")
