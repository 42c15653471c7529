"""What workloads were told whose GPUs are all idle."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept = (
        sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
        for name in ("created_at", "updated_at")
    )
    op.create_table(
        "idle_warnings",
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("plan_id", sa.Uuid),
        *kept,
        sa.PrimaryKeyConstraint("workload_id", name="pk_idle_warnings"),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON idle_warnings TO sentinel_app")


def downgrade() -> None:
    op.drop_table("idle_warnings")
