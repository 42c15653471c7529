"""Indexes of the minutes and hours of GPUs by time: a search among all GPUs reads no whole partition."""

from alembic import op

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

_TABLES = ("gpu_minutes", "gpu_hours")


def upgrade() -> None:
    for table in _TABLES:
        op.create_index(f"ix_{table}_starts_at", table, ["starts_at"])


def downgrade() -> None:
    for table in _TABLES:
        op.drop_index(f"ix_{table}_starts_at", table)
