"""The application sees which schema the database has."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT SELECT ON alembic_version TO sentinel_app")


def downgrade() -> None:
    op.execute("REVOKE SELECT ON alembic_version FROM sentinel_app")
