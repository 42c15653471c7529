"""Facts that cost the same however much is stored: indexes of usage by cluster, and of samples by their arrival.

Rows of usage that count nothing and have cost nothing this month are deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_UNUSED = "replicas = 0 AND cpu = 0 AND memory = 0 AND gpus = 0 AND usd_per_hour = 0"


def upgrade() -> None:
    usage = sa.table("usage", sa.column("accrued_at"))
    month_start = sa.func.date_trunc("month", sa.func.now(), "UTC")
    op.execute(usage.delete().where(sa.text(_UNUSED), usage.c.accrued_at < month_start))
    op.create_index(op.f("ix_usage_cluster"), "usage", ["cluster"])
    op.create_index("ix_usage_unused", "usage", ["accrued_at"], postgresql_where=sa.text(_UNUSED))
    op.create_index(op.f("ix_telemetry_subject_created_at"), "telemetry", ["subject", "created_at"])
    op.drop_index(op.f("ix_telemetry_subject_observed_at"), "telemetry")


def downgrade() -> None:
    op.create_index(op.f("ix_telemetry_subject_observed_at"), "telemetry", ["subject", "observed_at"])
    op.drop_index(op.f("ix_telemetry_subject_created_at"), "telemetry")
    op.drop_index("ix_usage_unused", "usage")
    op.drop_index(op.f("ix_usage_cluster"), "usage")
