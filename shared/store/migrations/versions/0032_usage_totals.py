"""What every cluster, and everything together, uses: totals that a trigger keeps, so that no decision adds up usage."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# What a row has cost since the month began; see shared.store.ledger.accrued.
_ACCRUED = """
CREATE FUNCTION accrued_usd(line usage) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN line.accrued_at >= month THEN line.accrued_usd ELSE 0 END
           + line.usd_per_hour * extract(epoch FROM now() - greatest(line.accrued_at, month)) / 3600
      FROM date_trunc('month', now(), 'UTC') AS month
$$
"""

# A total is the sum of several rows. A transaction adds to one that nobody else has locked, or makes another: so none
# waits for others that count in the same cluster.
_ADD = """
CREATE FUNCTION add_to_usage_totals(line usage, times integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    scope text;
    free uuid;
    month timestamptz := date_trunc('month', now(), 'UTC');
BEGIN
    FOREACH scope IN ARRAY ARRAY[line.cluster, ''] LOOP
        SELECT id INTO free FROM usage_totals WHERE cluster = scope AND sku = line.sku
         ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            INSERT INTO usage_totals (cluster, sku, replicas, cpu, memory, gpus, usd_per_hour)
            VALUES (scope, line.sku, 0, 0, 0, 0, 0) RETURNING id INTO free;
        END IF;
        UPDATE usage_totals AS total
           SET replicas = total.replicas + times * line.replicas, cpu = total.cpu + times * line.cpu,
               memory = total.memory + times * line.memory, gpus = total.gpus + times * line.gpus,
               usd_per_hour = total.usd_per_hour + times * line.usd_per_hour,
               accrued_usd = CASE WHEN total.accrued_at >= month THEN total.accrued_usd ELSE 0 END
                   + total.usd_per_hour * extract(epoch FROM now() - greatest(total.accrued_at, month)) / 3600
                   + times * accrued_usd(line),
               accrued_at = now(), updated_at = now()
         WHERE id = free;
    END LOOP;
END
$$
"""

_COUNT = """
CREATE FUNCTION count_in_usage_totals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change usage;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.cluster = OLD.cluster AND NEW.sku = OLD.sku THEN
        change := NEW;
        change.replicas := NEW.replicas - OLD.replicas;
        change.cpu := NEW.cpu - OLD.cpu;
        change.memory := NEW.memory - OLD.memory;
        change.gpus := NEW.gpus - OLD.gpus;
        change.usd_per_hour := NEW.usd_per_hour - OLD.usd_per_hour;
        change.accrued_usd := accrued_usd(NEW) - accrued_usd(OLD);
        change.accrued_at := now();
        PERFORM add_to_usage_totals(change, 1);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM add_to_usage_totals(OLD, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM add_to_usage_totals(NEW, 1);
    END IF;
    RETURN NULL;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE ON usage
    FOR EACH ROW EXECUTE FUNCTION count_in_usage_totals()
"""

_FILL = """
INSERT INTO usage_totals (cluster, sku, replicas, cpu, memory, gpus, usd_per_hour, accrued_usd)
SELECT scope, sku, sum(replicas), sum(cpu), sum(memory), sum(gpus), sum(usd_per_hour), sum(accrued_usd(usage))
  FROM usage, unnest(ARRAY[cluster, '']) AS scope GROUP BY scope, sku
"""


def upgrade() -> None:
    op.create_table(
        "usage_totals",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("sku", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("replicas", "cpu", "memory", "gpus")),
        sa.Column("usd_per_hour", sa.Numeric(20, 6), nullable=False),
        sa.Column("accrued_usd", sa.Numeric, nullable=False, server_default=sa.text("0")),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
            for name in ("accrued_at", "created_at", "updated_at")
        ),
    )
    op.create_index("ix_usage_totals_cluster_sku", "usage_totals", ["cluster", "sku"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON usage_totals TO sentinel_app")
    op.execute("LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE")
    for statement in (_ACCRUED, _ADD, _COUNT, _TRIGGER, _FILL):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER counted ON usage")
    for function in ("count_in_usage_totals()", "add_to_usage_totals(usage, integer)", "accrued_usd(usage)"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("usage_totals")
