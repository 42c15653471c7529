"""A revision keeps the deadline and the bake time that it was submitted with."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COLUMNS = ("deadline", "bake")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("deployments", sa.Column(name, sa.Interval))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("deployments", name)
