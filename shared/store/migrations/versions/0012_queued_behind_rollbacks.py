"""A workload remembers the queued plan that is proposed again once a rollback has ended."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEX = "ix_workloads_queued_plan_id"


def upgrade() -> None:
    op.add_column("workloads", sa.Column("queued_plan_id", sa.Uuid))
    op.create_index(_INDEX, "workloads", ["id"], postgresql_where=sa.text("queued_plan_id IS NOT NULL"))


def downgrade() -> None:
    op.drop_index(_INDEX, "workloads")
    op.drop_column("workloads", "queued_plan_id")
