"""What is collected from Prometheus, and when next."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

_MOMENTS = ("reading_until", "asked_at", "until", "found_at")
_NAMES_METRICS = "jsonb_typeof(spec -> 'metrics') = 'object' AND NOT withdrawn"


def upgrade() -> None:
    op.create_table(
        "metric_collections",
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("workload_id", sa.Uuid),
        sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True)) for name in _MOMENTS),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in ("workloads", "failures")),
        sa.Column("failure", sa.Text, nullable=False, server_default=""),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "updated_at")
        ),
        sa.PrimaryKeyConstraint("subject", name="pk_metric_collections"),
    )
    op.create_index("ix_metric_collections_due_at", "metric_collections", ["due_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON metric_collections TO sentinel_app")
    op.create_index("ix_workloads_metrics", "workloads", ["id"], postgresql_where=sa.text(_NAMES_METRICS))


def downgrade() -> None:
    op.drop_index("ix_workloads_metrics", "workloads")
    op.drop_table("metric_collections")
