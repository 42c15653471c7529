"""Dead letters say whose inbox knows whether their event was handled after all."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("consumer", sa.Text, nullable=False, server_default=""))
    op.add_column("dead_letters", sa.Column("digest", sa.LargeBinary))
    op.create_index(
        "ix_dead_letters_open", "dead_letters", ["updated_at"], postgresql_where=sa.text("redriven_at IS NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_open", "dead_letters")
    op.drop_column("dead_letters", "digest")
    op.drop_column("dead_letters", "consumer")
