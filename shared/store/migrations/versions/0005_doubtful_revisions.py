"""An index of the settled revisions that are observed with every tick, because they lacked replicas."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DOUBTFUL = "status = 'degraded' OR (status = 'healthy' AND ready_since IS NULL)"


def upgrade() -> None:
    op.create_index(
        "ix_deployments_doubtful", "deployments", ["observed_at", "id"], postgresql_where=sa.text(_DOUBTFUL)
    )


def downgrade() -> None:
    op.drop_index("ix_deployments_doubtful", "deployments")
