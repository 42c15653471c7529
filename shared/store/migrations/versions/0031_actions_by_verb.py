"""Actions by their verb, so that a rate limit on a rare verb does not read those of the others."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_SCOPES = ("workload_id", "team", "cluster")


def upgrade() -> None:
    for scope in _SCOPES:
        op.drop_index(f"ix_actions_{scope}_taken_at", "actions")
        op.create_index(
            f"ix_actions_{scope}_verb_taken_at", "actions", [scope, "verb", "taken_at"], postgresql_include=["plan_id"]
        )
    op.create_index("ix_actions_verb_taken_at", "actions", ["verb", "taken_at"], postgresql_include=["plan_id"])


def downgrade() -> None:
    op.drop_index("ix_actions_verb_taken_at", "actions")
    for scope in _SCOPES:
        op.drop_index(f"ix_actions_{scope}_verb_taken_at", "actions")
        op.create_index(f"ix_actions_{scope}_taken_at", "actions", [scope, "taken_at"])
