"""Sweeps of clusters: where each goes on, what it put under suspicion, and the orphans that it found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_DOUBTFUL_BEFORE = "status = 'degraded' OR (status = 'healthy' AND ready_since IS NULL)"
_DOUBTFUL = _DOUBTFUL_BEFORE + " OR (status = 'unhealthy' AND ready_since IS NOT NULL) OR suspected_at IS NOT NULL"
_SETTLED = "status IN ('healthy', 'degraded')"
_MAY_BE_THERE = (
    "status IN ('intended', 'verifying', 'removing', 'healthy', 'degraded', 'unhealthy', 'completed', 'failed')"
)


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _kept() -> tuple[sa.Column[object], ...]:
    return tuple(
        sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
        for name in ("created_at", "updated_at")
    )


def _text(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def upgrade() -> None:
    op.add_column("deployments", _moment("suspected_at"))
    op.add_column("deployments", sa.Column("object_digest", sa.Text))
    op.drop_index("ix_deployments_settled", "deployments")
    op.create_index(
        "ix_deployments_on_cluster",
        "deployments",
        ["cluster", "kind", "namespace", "name"],
        postgresql_where=sa.text(_MAY_BE_THERE),
    )
    _replace_doubtful(_DOUBTFUL)
    op.create_table(
        "sweeps",
        sa.Column("cluster", sa.Text, primary_key=True),
        sa.Column("page", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _text("kind", "Deployment"),
        *(_text(name, "") for name in ("namespace", "token", "after_namespace", "after_name")),
        _moment("started_at"),
        _moment("reading_until"),
        sa.Column(
            "next_page_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("(now() + '00:01:00'::interval)"),
        ),
        *_kept(),
    )
    op.create_table(
        "orphans",
        sa.Column("id", postgresql.UUID(), primary_key=True, server_default=sa.func.gen_random_uuid()),
        *(_text(name) for name in ("cluster", "kind", "namespace", "name", "uid")),
        _text("instance", ""),
        sa.Column("revision", sa.BigInteger),
        _moment("seen_at", nullable=False),
        _text("requested_by", ""),
        *_kept(),
        sa.UniqueConstraint("cluster", "kind", "namespace", "name", name="uq_orphans_cluster_kind_namespace_name"),
    )
    for table in ("sweeps", "orphans"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")
    op.execute("INSERT INTO sweeps (cluster) SELECT name FROM clusters")


def downgrade() -> None:
    op.drop_table("orphans")
    op.drop_table("sweeps")
    _replace_doubtful(_DOUBTFUL_BEFORE)
    op.drop_index("ix_deployments_on_cluster", "deployments")
    op.create_index("ix_deployments_settled", "deployments", ["observed_at", "id"], postgresql_where=sa.text(_SETTLED))
    op.drop_column("deployments", "object_digest")
    op.drop_column("deployments", "suspected_at")


def _replace_doubtful(condition: str) -> None:
    op.drop_index("ix_deployments_doubtful", "deployments")
    op.create_index(
        "ix_deployments_doubtful", "deployments", ["observed_at", "id"], postgresql_where=sa.text(condition)
    )
