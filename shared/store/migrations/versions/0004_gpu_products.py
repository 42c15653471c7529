"""Which GPU products the nodes of each cluster show, and when they were read last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    products = postgresql.JSONB(astext_type=sa.Text())
    op.add_column("clusters", sa.Column("products", products, server_default=sa.text("'[]'"), nullable=False))
    op.add_column("clusters", sa.Column("products_read_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("clusters", "products_read_at")
    op.drop_column("clusters", "products")
