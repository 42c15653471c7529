"""Plans that nobody has decided are announced again, as approved ones are."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_BEFORE = "status IN ('approved', 'waiting', 'applying')"
_NOW = "status IN ('proposed', 'approved', 'waiting', 'applying')"
_LOST = "UPDATE action_plans SET next_attempt_at = now() WHERE status = 'proposed' AND next_attempt_at IS NULL"


def upgrade() -> None:
    _replace_index(_NOW)
    op.execute(_LOST)


def downgrade() -> None:
    _replace_index(_BEFORE)


def _replace_index(condition: str) -> None:
    op.drop_index("ix_action_plans_due", "action_plans")
    op.create_index("ix_action_plans_due", "action_plans", ["next_attempt_at"], postgresql_where=sa.text(condition))
