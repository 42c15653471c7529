"""The audit log in the order of commits, and by team.

A row's transaction says in which order rows became visible; earlier rows have none, and keep the order of their time.
The team is that of the workload that a row is about, or the one that its bytes name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_SIGNATURE = "chain smallint, what text, about text, bytes bytea, who text DEFAULT 'system'"
_LAST = """
DECLARE
    last record;
    at timestamptz;
    signed bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(5471002, chain);
    SELECT sequence, hash INTO last FROM audit_log WHERE shard = chain ORDER BY sequence DESC LIMIT 1;
    at := clock_timestamp();
    signed := coalesce(last.hash, ''::bytea) || int8send(CAST(extract(epoch FROM at) * 1000000 AS bigint)) || bytes;
    INSERT INTO audit_log (shard, sequence, recorded_at, action, subject, actor, {column}body, previous_hash, hash)
    VALUES (chain, coalesce(last.sequence, 0) + 1, at, what, about, who, {value}bytes, coalesce(last.hash, ''::bytea),
            sha256(signed));
END
"""
_TEAM = """coalesce(
        named,
        CASE WHEN about ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'
            THEN (SELECT w.team FROM workloads w WHERE w.id = CAST(about AS uuid)) END
    ), """
_KEY = ["transaction_id", "recorded_at", "shard", "sequence"]
_CURRENT = "((pg_current_xact_id())::text)::bigint"
_FOUND_BY = ("subject", "actor", "action", "team")


def upgrade() -> None:
    op.add_column("audit_log", sa.Column("team", sa.Text))
    op.add_column("audit_log", sa.Column("transaction_id", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.alter_column("audit_log", "transaction_id", server_default=sa.text(_CURRENT))
    op.create_index("ix_audit_log_transaction_id", "audit_log", _KEY)
    for name in ("subject", "actor"):
        op.drop_index(f"ix_audit_log_{name}", "audit_log")
    for name in _FOUND_BY:
        op.create_index(f"ix_audit_log_{name}", "audit_log", [name, *_KEY])
    op.execute("DROP FUNCTION audit_append(smallint, text, text, bytea, text)")
    body = _LAST.format(column="team, ", value=_TEAM)
    signature = f"{_SIGNATURE}, named text DEFAULT NULL"
    op.execute(f"CREATE FUNCTION audit_append({signature}) RETURNS void LANGUAGE plpgsql AS $${body}$$")


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_append(smallint, text, text, bytea, text, text)")
    body = _LAST.format(column="", value="")
    op.execute(f"CREATE FUNCTION audit_append({_SIGNATURE}) RETURNS void LANGUAGE plpgsql AS $${body}$$")
    for name in _FOUND_BY:
        op.drop_index(f"ix_audit_log_{name}", "audit_log")
    for name in ("subject", "actor"):
        op.create_index(f"ix_audit_log_{name}", "audit_log", [name])
    op.drop_index("ix_audit_log_transaction_id", "audit_log")
    op.drop_column("audit_log", "transaction_id")
    op.drop_column("audit_log", "team")
