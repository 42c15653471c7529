"""An index of the list of role bindings by team."""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_role_bindings_team_created_at_id", "role_bindings", ["team", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_role_bindings_team_created_at_id", "role_bindings")
