"""What the lists of clusters, reservations and dead letters show; backtests and their reports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_OPEN = sa.text("redriven_at IS NULL")
_LINES = ("team", "workload_id", "cluster", "sku")


def upgrade() -> None:
    op.add_column("clusters", sa.Column("contacted_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE clusters SET contacted_at = products_read_at WHERE away_until IS NULL")
    op.create_index(f"ix_reservations_{'_'.join(_LINES)}", "reservations", list(_LINES))
    op.create_index("ix_dead_letters_created_at_id", "dead_letters", ["created_at", "id"])
    op.create_index("ix_dead_letters_open_created_at", "dead_letters", ["created_at", "id"], postgresql_where=_OPEN)
    op.create_table(
        "backtests",
        sa.Column("id", sa.Uuid, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("requested_by", "state")),
        sa.Column("command", postgresql.JSONB, nullable=False),
        sa.Column("report", postgresql.JSONB),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "updated_at")
        ),
    )
    op.create_index("ix_backtests_created_at", "backtests", ["created_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON backtests TO sentinel_app")


def downgrade() -> None:
    op.drop_table("backtests")
    for name in ("open_created_at", "created_at_id"):
        op.drop_index(f"ix_dead_letters_{name}", "dead_letters")
    op.drop_index(f"ix_reservations_{'_'.join(_LINES)}", "reservations")
    op.drop_column("clusters", "contacted_at")
