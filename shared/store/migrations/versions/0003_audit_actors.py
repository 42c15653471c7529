"""Every audit row names its actor.

The actor of a new row is in the bytes that the hash covers, and in a column to find rows by. Older rows say `system`.
The new parameter of `audit_append` has a default, so that functions of the release before can still write.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SIGNATURE = "chain smallint, what text, about text, bytes bytea"
_BODY = """
DECLARE
    last record;
    at timestamptz;
    signed bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(5471002, chain);
    SELECT sequence, hash INTO last FROM audit_log WHERE shard = chain ORDER BY sequence DESC LIMIT 1;
    at := clock_timestamp();
    signed := coalesce(last.hash, ''::bytea) || int8send(CAST(extract(epoch FROM at) * 1000000 AS bigint)) || bytes;
    INSERT INTO audit_log (shard, sequence, recorded_at, action, subject, {column}body, previous_hash, hash)
    VALUES (chain, coalesce(last.sequence, 0) + 1, at, what, about, {value}bytes, coalesce(last.hash, ''::bytea),
            sha256(signed));
END
"""


def upgrade() -> None:
    op.add_column("audit_log", sa.Column("actor", sa.Text(), server_default="system", nullable=False))
    op.create_index(op.f("ix_audit_log_actor"), "audit_log", ["actor"], unique=False)
    op.execute("DROP FUNCTION audit_append(smallint, text, text, bytea)")
    body = _BODY.format(column="actor, ", value="who, ")
    op.execute(
        f"CREATE FUNCTION audit_append({_SIGNATURE}, who text DEFAULT 'system') RETURNS void LANGUAGE plpgsql "
        f"AS $${body}$$"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_append(smallint, text, text, bytea, text)")
    body = _BODY.format(column="", value="")
    op.execute(f"CREATE FUNCTION audit_append({_SIGNATURE}) RETURNS void LANGUAGE plpgsql AS $${body}$$")
    op.drop_index(op.f("ix_audit_log_actor"), table_name="audit_log")
    op.drop_column("audit_log", "actor")
