"""Indexes for every filter and sort of a list of workloads: a page costs the same however many workloads there are."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_NAME = ("team", "namespace", "name")


def upgrade() -> None:
    op.drop_index("ix_workloads_phase", "workloads")
    op.create_index("ix_workloads_phase_team_namespace_name", "workloads", ["phase", *_NAME])
    op.create_index("ix_workloads_cluster_team_namespace_name", "workloads", ["cluster", *_NAME])
    op.create_index("ix_workloads_name_team_namespace", "workloads", ["name", "team", "namespace"])
    op.create_index("ix_workloads_created_at_id", "workloads", ["created_at", "id"])
    op.create_index(
        "ix_workloads_labels",
        "workloads",
        [sa.text("(spec -> 'labels')")],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    for columns in ("labels", "created_at_id", "name_team_namespace"):
        op.drop_index(f"ix_workloads_{columns}", "workloads")
    for column in ("cluster", "phase"):
        op.drop_index(f"ix_workloads_{column}_team_namespace_name", "workloads")
    op.create_index("ix_workloads_phase", "workloads", ["phase"])
