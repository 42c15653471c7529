"""Policies with history, monthly costs, rate limits and a queue."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
        sa.UniqueConstraint("plan_id", name=op.f("uq_actions_plan_id")),
    )
    op.create_index(op.f("ix_actions_cluster_taken_at"), "actions", ["cluster", "taken_at"], unique=False)
    op.create_index(op.f("ix_actions_taken_at"), "actions", ["taken_at"], unique=False)
    op.create_index(op.f("ix_actions_team_taken_at"), "actions", ["team", "taken_at"], unique=False)
    op.create_index(op.f("ix_actions_workload_id_taken_at"), "actions", ["workload_id", "taken_at"], unique=False)
    op.create_table(
        "policy_set",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_set")),
    )
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_versions")),
        sa.UniqueConstraint("policy_id", "version", name=op.f("uq_policy_versions_policy_id_version")),
    )
    op.create_table(
        "workload_costs",
        sa.Column("workload_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("usd", sa.Numeric(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("workload_id", "month", name=op.f("pk_workload_costs")),
    )
    op.add_column("action_plans", sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("action_plans", sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("action_plans", sa.Column("overtaken", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        "action_plans",
        sa.Column("waits_for", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    )
    op.create_index(
        "ix_action_plans_queue",
        "action_plans",
        [sa.literal_column("priority DESC"), "queued_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.add_column("policies", sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column(
        "policy_decisions",
        sa.Column("dry_run", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    )
    op.create_index(op.f("ix_policy_decisions_created_at_id"), "policy_decisions", ["created_at", "id"], unique=False)
    op.add_column(
        "reservations",
        sa.Column("accrued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column(
        "usage",
        sa.Column("accrued_usd", sa.Numeric(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "usage", sa.Column("accrued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    for table in ("actions", "policy_set", "policy_versions", "workload_costs"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")
    op.execute("REVOKE UPDATE, DELETE ON policy_versions FROM sentinel_app")


def downgrade() -> None:
    op.drop_column("usage", "accrued_at")
    op.drop_column("usage", "accrued_usd")
    op.drop_column("reservations", "accrued_at")
    op.drop_index(op.f("ix_policy_decisions_created_at_id"), table_name="policy_decisions")
    op.drop_column("policy_decisions", "dry_run")
    op.drop_column("policies", "version")
    op.drop_index("ix_action_plans_queue", table_name="action_plans", postgresql_where=sa.text("status = 'queued'"))
    op.drop_column("action_plans", "waits_for")
    op.drop_column("action_plans", "overtaken")
    op.drop_column("action_plans", "queued_at")
    op.drop_column("action_plans", "priority")
    op.drop_table("workload_costs")
    op.drop_table("policy_versions")
    op.drop_table("policy_set")
    op.drop_index(op.f("ix_actions_workload_id_taken_at"), table_name="actions")
    op.drop_index(op.f("ix_actions_team_taken_at"), table_name="actions")
    op.drop_index(op.f("ix_actions_taken_at"), table_name="actions")
    op.drop_index(op.f("ix_actions_cluster_taken_at"), table_name="actions")
    op.drop_table("actions")
