"""Which event sources may act for which teams, and which namespaces teams may use.

An installation that was used before goes on as before: everything is allowed until an admin binds what is meant. A new
one has neither workloads nor audit rows, and begins with nothing bound.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TABLES = ("source_bindings", "namespace_bindings", "binding_set")
_ALLOW_ALL = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM workloads) OR EXISTS (SELECT FROM audit_log) THEN
        INSERT INTO source_bindings (name, source, teams, namespaces, actions)
        VALUES ('everything', '*', '{*}', '{*}', '{submit,withdraw,propose}');
        INSERT INTO namespace_bindings (team, namespaces) VALUES ('*', '{*}');
        INSERT INTO binding_set (id, revision) VALUES (1, gen_random_uuid());
    END IF;
END
$$
"""


def _kept() -> tuple[sa.Column[object], ...]:
    return tuple(
        sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
        for name in ("created_at", "updated_at")
    )


def _texts(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.ARRAY(sa.Text), nullable=False)


def upgrade() -> None:
    op.create_table(
        "source_bindings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        *(_texts(name) for name in ("teams", "namespaces", "actions")),
        *_kept(),
    )
    op.create_table("namespace_bindings", sa.Column("team", sa.Text, primary_key=True), _texts("namespaces"), *_kept())
    op.create_table(
        "binding_set",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", postgresql.UUID(), nullable=False),
        *_kept(),
    )
    for table in _TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")
    op.execute(_ALLOW_ALL)


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
