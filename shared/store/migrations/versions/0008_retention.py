"""Indexes of the refused events and the dead letters that are deleted when they are old."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_outbox_refused", "outbox", ["updated_at"], postgresql_where=sa.text("refused IS NOT NULL"))
    op.create_index(
        "ix_dead_letters_redriven", "dead_letters", ["redriven_at"], postgresql_where=sa.text("redriven_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_redriven", "dead_letters")
    op.drop_index("ix_outbox_refused", "outbox")
