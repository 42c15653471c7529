"""Totals of usage follow once a statement, and not once a row: 10,000 rows in one statement took over 10 s."""

from importlib import import_module

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# `added` and `taken` are what the statement has written and what was there before; each trigger has those that it has.
_COUNT = """
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
    free uuid;
    month timestamptz := date_trunc('month', now(), 'UTC');
BEGIN
    FOR change IN
        SELECT scope, sku, sum(times * replicas) AS replicas, sum(times * cpu) AS cpu, sum(times * memory) AS memory,
               sum(times * gpus) AS gpus, sum(times * usd_per_hour) AS usd_per_hour, sum(times * accrued) AS accrued
          FROM ({lines}) AS line, unnest(ARRAY[cluster, '']) AS scope
         GROUP BY scope, sku
        HAVING (sum(times * replicas), sum(times * cpu), sum(times * memory), sum(times * gpus),
                sum(times * usd_per_hour), sum(times * accrued)) IS DISTINCT FROM (0, 0, 0, 0, 0, 0)
         ORDER BY scope, sku
    LOOP
        SELECT id INTO free FROM usage_totals WHERE cluster = change.scope AND sku = change.sku
         ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            INSERT INTO usage_totals (cluster, sku, replicas, cpu, memory, gpus, usd_per_hour)
            VALUES (change.scope, change.sku, 0, 0, 0, 0, 0) RETURNING id INTO free;
        END IF;
        UPDATE usage_totals AS total
           SET replicas = total.replicas + change.replicas, cpu = total.cpu + change.cpu,
               memory = total.memory + change.memory, gpus = total.gpus + change.gpus,
               usd_per_hour = total.usd_per_hour + change.usd_per_hour,
               accrued_usd = CASE WHEN total.accrued_at >= month THEN total.accrued_usd ELSE 0 END
                   + total.usd_per_hour * extract(epoch FROM now() - greatest(total.accrued_at, month)) / 3600
                   + change.accrued,
               accrued_at = now(), updated_at = now()
         WHERE id = free;
    END LOOP;
    RETURN NULL;
END
$$
"""
# What a row has cost since the month began; see shared.store.ledger.accrued.
_ACCRUED = """CASE WHEN accrued_at >= month THEN accrued_usd ELSE 0 END
                + usd_per_hour * extract(epoch FROM now() - greatest(accrued_at, month)) / 3600"""
_LINE = """SELECT {times} AS times, cluster, sku, replicas, cpu, memory, gpus, usd_per_hour, {accrued} AS accrued
                  FROM {table}"""
_LINES = {
    table: _LINE.format(times=times, accrued=_ACCRUED, table=table) for table, times in (("added", 1), ("taken", -1))
}
_REFERENCED = {"added": "NEW TABLE AS added", "taken": "OLD TABLE AS taken"}
_WRITTEN = {"insert": ("added",), "update": ("added", "taken"), "delete": ("taken",)}


def upgrade() -> None:
    op.execute("LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE")
    op.execute("DROP TRIGGER counted ON usage")
    for function in ("count_in_usage_totals()", "add_to_usage_totals(usage, integer)", "accrued_usd(usage)"):
        op.execute(f"DROP FUNCTION {function}")
    for verb, tables in _WRITTEN.items():
        lines = " UNION ALL ".join(_LINES[table] for table in tables)
        function = f"count_usage_{verb}"
        op.execute(_COUNT.replace("{function}", function).replace("{lines}", lines))
        op.execute(
            f"CREATE TRIGGER counted_{verb} AFTER {verb.upper()} ON usage"
            f" REFERENCING {' '.join(_REFERENCED[table] for table in tables)}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    earlier = import_module("shared.store.migrations.versions.0032_usage_totals")
    op.execute("LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE")
    for verb in _WRITTEN:
        op.execute(f"DROP TRIGGER counted_{verb} ON usage")
        op.execute(f"DROP FUNCTION count_usage_{verb}()")
    for statement in (earlier._ACCRUED, earlier._ADD, earlier._COUNT, earlier._TRIGGER):
        op.execute(statement)
