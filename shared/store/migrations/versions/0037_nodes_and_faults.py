"""Nodes that are excluded from placement, faults of GPUs and nodes, and what was done about each for each workload."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_TABLES = ("nodes", "fleets", "gpu_faults", "fault_responses")


def _moment(name: str, *, nullable: bool = True, default: Any = None) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable, server_default=default)


def _kept() -> tuple[sa.Column[Any], ...]:
    return tuple(_moment(name, nullable=False, default=sa.func.now()) for name in ("created_at", "updated_at"))


def upgrade() -> None:
    op.create_table(
        "nodes",
        _text("cluster"),
        _text("name"),
        sa.Column("gpus", JSONB),
        _moment("excluded_at"),
        _text("excluded_by", default=""),
        _text("reason", default=""),
        *(_moment(name) for name in ("faulty_since", "proven_at")),
        *_kept(),
        sa.PrimaryKeyConstraint("cluster", "name", name="pk_nodes"),
    )
    excluded = sa.text("excluded_at IS NOT NULL OR faulty_since IS NOT NULL")
    op.create_index("ix_nodes_excluded", "nodes", ["cluster", "name"], postgresql_where=excluded)
    op.create_index("ix_nodes_proven", "nodes", ["proven_at"], postgresql_where=sa.text("proven_at IS NOT NULL"))
    op.create_table(
        "fleets",
        _text("cluster"),
        _moment("suspected_at"),
        *_kept(),
        sa.PrimaryKeyConstraint("cluster", name="pk_fleets"),
    )
    op.create_table(
        "gpu_faults",
        sa.Column("id", sa.Uuid, nullable=False),
        *(_text(name) for name in ("cluster", "node")),
        _text("gpu", nullable=True),
        *(_text(name) for name in ("kind", "blame")),
        sa.Column("xid", sa.Integer),
        _text("action", nullable=True),
        _text("message", default=""),
        sa.Column("evidence", JSONB, nullable=False),
        _moment("observed_at", nullable=False),
        _moment("raised_at"),
        _moment("cleared_at"),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_gpu_faults"),
    )
    of_hardware, is_open = sa.text("blame <> 'pod'"), sa.text("cleared_at IS NULL")
    op.create_index("ix_gpu_faults_raised", "gpu_faults", ["cluster", "raised_at"], postgresql_where=of_hardware)
    op.create_index("ix_gpu_faults_open", "gpu_faults", ["cluster", "node"], postgresql_where=is_open)
    op.create_index("ix_gpu_faults_updated_at", "gpu_faults", ["updated_at"])
    op.create_table(
        "fault_responses",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("fault_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        _text("outcome"),
        sa.Column("plan_id", sa.Uuid),
        _moment("decided_at", nullable=False),
        *_kept(),
        sa.PrimaryKeyConstraint("id", name="pk_fault_responses"),
        sa.UniqueConstraint("fault_id", "workload_id", name="uq_fault_responses_fault_id_workload_id"),
    )
    op.create_index("ix_fault_responses_updated_at", "fault_responses", ["updated_at"])
    for outcome, columns in (("proposed", ["workload_id", "decided_at"]), ("waiting", ["decided_at"])):
        condition = sa.text(f"outcome = '{outcome}'")
        op.create_index(f"ix_fault_responses_{outcome}", "fault_responses", columns, postgresql_where=condition)
    for table in _TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
