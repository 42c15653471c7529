"""Indexes of lists: the queue of a team, reservations of a cluster, and those that are held."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

_QUEUED = sa.text("status = 'queued'")
_HELD = sa.text("state = 'held'")


def upgrade() -> None:
    queue: list[str | sa.TextClause] = ["team", sa.text("priority DESC"), "queued_at", "id"]
    op.create_index("ix_action_plans_queue_of_team", "action_plans", queue, postgresql_where=_QUEUED)
    op.create_index("ix_reservations_cluster_workload_id_sku", "reservations", ["cluster", "workload_id", "sku"])
    held = ["workload_id", "cluster", "sku"]
    op.create_index("ix_reservations_held", "reservations", held, postgresql_where=_HELD)


def downgrade() -> None:
    op.drop_index("ix_reservations_held", "reservations")
    op.drop_index("ix_reservations_cluster_workload_id_sku", "reservations")
    op.drop_index("ix_action_plans_queue_of_team", "action_plans")
