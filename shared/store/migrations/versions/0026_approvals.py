"""Plans that await a person's approval: who proposed a plan, who has approved it, and lists of plans."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_TEXTS = ("team", "proposed_by", "approved_by", "approval_reason")
_MOMENTS = ("approval_requested_at", "approved_at")
_DUE_BEFORE = "status IN ('proposed', 'approved', 'waiting', 'applying')"
_DUE_NOW = "status IN ('proposed', 'awaiting_approval', 'approved', 'waiting', 'applying')"
_QUEUED = "status = 'queued'"
_SET_ASIDE = "status IN ('queued', 'awaiting_approval')"
_TEAMS = "UPDATE action_plans SET team = workloads.team FROM workloads WHERE workloads.id = action_plans.workload_id"
_LISTS = (("created_at", "id"), ("status", "created_at", "id"), ("team", "created_at", "id"))


def upgrade() -> None:
    for name in _TEXTS:
        op.add_column("action_plans", sa.Column(name, sa.Text, nullable=False, server_default=""))
    for name in _MOMENTS:
        op.add_column("action_plans", sa.Column(name, sa.DateTime(timezone=True)))
    op.execute(_TEAMS)
    _replace_indexes(_DUE_NOW, "queued", "set_aside", _SET_ASIDE)
    for columns in _LISTS:
        op.create_index(f"ix_action_plans_{'_'.join(columns)}", "action_plans", list(columns))


def downgrade() -> None:
    for columns in _LISTS:
        op.drop_index(f"ix_action_plans_{'_'.join(columns)}", "action_plans")
    _replace_indexes(_DUE_BEFORE, "set_aside", "queued", _QUEUED)
    for name in (*_TEXTS, *_MOMENTS):
        op.drop_column("action_plans", name)


def _replace_indexes(due: str, earlier: str, later: str, condition: str) -> None:
    op.drop_index("ix_action_plans_due", "action_plans")
    op.create_index("ix_action_plans_due", "action_plans", ["next_attempt_at"], postgresql_where=sa.text(due))
    op.drop_index(f"ix_action_plans_{earlier}", "action_plans")
    op.create_index(f"ix_action_plans_{later}", "action_plans", ["workload_id"], postgresql_where=sa.text(condition))
