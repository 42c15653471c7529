"""What workloads have cost by day, cluster and SKU, with their GPU hours: a month said too little for a report."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE workload_costs
            ADD COLUMN cluster text NOT NULL DEFAULT '',
            ADD COLUMN sku text NOT NULL DEFAULT '',
            ADD COLUMN team text NOT NULL DEFAULT '',
            ADD COLUMN gpu_hours numeric NOT NULL DEFAULT 0
    """)
    op.alter_column("workload_costs", "month", new_column_name="day")
    op.execute("UPDATE workload_costs AS c SET team = w.team FROM workloads AS w WHERE w.id = c.workload_id")
    op.execute("ALTER TABLE workload_costs DROP CONSTRAINT pk_workload_costs")
    op.create_primary_key("pk_workload_costs", "workload_costs", ["workload_id", "day", "cluster", "sku"])
    for name in ("cluster", "sku", "team", "gpu_hours"):
        op.alter_column("workload_costs", name, server_default=None)
    op.create_index("ix_workload_costs_day_team", "workload_costs", ["day", "team"])


def downgrade() -> None:
    op.drop_index("ix_workload_costs_day_team", table_name="workload_costs")
    op.execute("""
        CREATE TEMPORARY TABLE costs ON COMMIT DROP AS
        SELECT workload_id, date_trunc('month', day)::date AS month, sum(usd) AS usd FROM workload_costs GROUP BY 1, 2
    """)
    op.execute("DELETE FROM workload_costs")
    op.execute("ALTER TABLE workload_costs DROP CONSTRAINT pk_workload_costs")
    for name in ("cluster", "sku", "team", "gpu_hours"):
        op.drop_column("workload_costs", name)
    op.alter_column("workload_costs", "day", new_column_name="month")
    op.create_primary_key("pk_workload_costs", "workload_costs", ["workload_id", "month"])
    op.execute("INSERT INTO workload_costs (workload_id, month, usd) SELECT workload_id, month, usd FROM costs")
