"""Breaches of service level objectives, and when the error budgets of a workload are looked at again."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

_TABLES = ("slo_checks", "slo_breaches")
_KEY = ("workload_id", "target", "factor", "long_window", "short_window")


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "slo_checks",
        sa.Column("workload_id", sa.Uuid, nullable=False),
        _moment("due_at", nullable=False),
        sa.PrimaryKeyConstraint("workload_id", name="pk_slo_checks"),
    )
    op.create_index("ix_slo_checks_due_at", "slo_checks", ["due_at"])
    op.create_table(
        "slo_breaches",
        *(sa.Column(name, sa.Uuid, nullable=False) for name in ("id", "workload_id")),
        sa.Column("policy", sa.Text, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("target", "factor")),
        *(sa.Column(name, sa.Interval, nullable=False) for name in ("long_window", "short_window")),
        sa.Column("burn_rate", sa.Double, nullable=False),
        _moment("raised_at", nullable=False),
        _moment("over_at"),
        sa.Column("outcome", sa.Text),
        sa.Column("plan_id", sa.Uuid),
        _moment("decided_at"),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "updated_at")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_slo_breaches"),
    )
    lasts = sa.text("over_at IS NULL")
    op.create_index("uq_slo_breaches_open", "slo_breaches", [*_KEY], unique=True, postgresql_where=lasts)
    for outcome, columns in (("proposed", ["workload_id", "decided_at"]), ("waiting", ["decided_at"])):
        condition = sa.text(f"outcome = '{outcome}'")
        op.create_index(f"ix_slo_breaches_{outcome}", "slo_breaches", columns, postgresql_where=condition)
    op.create_index("ix_slo_breaches_over_at", "slo_breaches", ["over_at"])
    for table in _TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
