"""What an operator has said of a cluster: active, cordoned or lost."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clusters", sa.Column("state", sa.Text, nullable=False, server_default="active"))


def downgrade() -> None:
    op.drop_column("clusters", "state")
