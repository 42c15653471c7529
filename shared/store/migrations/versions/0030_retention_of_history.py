"""Where the deletion of old plans, decisions and revisions goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retention_cursors",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("after_moment", sa.DateTime(timezone=True)),
        sa.Column("after_id", sa.Uuid),
        sa.Column("after_revision", sa.Integer),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("created_at", "updated_at")
        ),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON retention_cursors TO sentinel_app")


def downgrade() -> None:
    op.drop_table("retention_cursors")
