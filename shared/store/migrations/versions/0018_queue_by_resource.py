"""Queued plans are found by what they wait for, and a row remembers how far the queue has been looked through."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_QUEUED = "status = 'queued'"

# A text with a scope alone stands for all of the scope; see shared.policy.resources.
_FILL = """
    UPDATE action_plans SET wait_keys = ARRAY(
        SELECT DISTINCT key
          FROM jsonb_array_elements_text(waits_for) AS text,
               LATERAL (SELECT split_part(text, ' ', 1) AS scope, strpos(text, ' ') = 0 AS whole) AS parts,
               LATERAL (
                   SELECT scope AS key
                    UNION SELECT text WHERE NOT whole
                    UNION SELECT scope || ' gpus[]' WHERE text LIKE '% gpus[%'
                    UNION SELECT scope || ' ' || name FROM unnest(ARRAY['replicas', 'cpu', 'memory', 'gpus']) AS name
                           WHERE whole
               ) AS keys
         ORDER BY key
    ) WHERE status = 'queued'
"""


def upgrade() -> None:
    keys: sa.Column[list[str]] = sa.Column(
        "wait_keys", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
    )
    op.add_column("action_plans", keys)
    op.execute(_FILL)
    op.create_index("ix_action_plans_queued", "action_plans", ["workload_id"], postgresql_where=sa.text(_QUEUED))
    op.create_index(
        "ix_action_plans_wait_keys",
        "action_plans",
        ["wait_keys"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text(_QUEUED),
    )
    op.create_table(
        "queue_cursor",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("after", sa.Uuid(), nullable=True),
        sa.Column("wanted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_cursor")),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON queue_cursor TO sentinel_app")


def downgrade() -> None:
    op.drop_table("queue_cursor")
    op.drop_index("ix_action_plans_wait_keys", "action_plans")
    op.drop_index("ix_action_plans_queued", "action_plans")
    op.drop_column("action_plans", "wait_keys")
