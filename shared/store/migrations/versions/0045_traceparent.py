"""The trace that plans and revisions began in, for what a tick finds to be done later."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

_TABLES = ("action_plans", "deployments")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("traceparent", sa.Text))


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "traceparent")
