"""Counts that the metrics are made of: of workloads by phase, of decisions, rollbacks, and times until healthy.

Triggers keep them, once a statement and whoever writes. Each transaction adds to a row that nobody else has locked.
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

_ADD = """
CREATE FUNCTION add_to_tally(tally text, tally_labels text[], amount numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    free uuid;
BEGIN
    SELECT id INTO free FROM tallies WHERE name = tally AND labels = tally_labels
     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE tallies SET value = value + amount WHERE id = free;
    ELSE
        INSERT INTO tallies (name, labels, value) VALUES (tally, tally_labels, amount);
    END IF;
END
$$
"""

# Each as (table, verbs, what it selects from `added` and `taken`: name, labels, amount).
_PHASES = "SELECT 'workloads' AS name, ARRAY[phase, team] AS labels, {times} AS amount FROM {table}"
_TIMES = """
    SELECT name, labels, amount
      FROM (SELECT extract(epoch FROM now() - plan.created_at) AS seconds
              FROM added JOIN taken USING (id) JOIN action_plans AS plan ON plan.id = added.plan_id
             WHERE added.phase IN ('healthy', 'completed') AND taken.phase NOT IN ('healthy', 'degraded', 'completed')
               AND plan.decision->>'verb' <> 'rollback') AS took
           CROSS JOIN LATERAL (VALUES
               ('submitted_to_healthy_seconds', ARRAY[CASE
                   WHEN seconds <= 1 THEN '1' WHEN seconds <= 2 THEN '2' WHEN seconds <= 5 THEN '5'
                   WHEN seconds <= 10 THEN '10' WHEN seconds <= 20 THEN '20' WHEN seconds <= 30 THEN '30'
                   WHEN seconds <= 60 THEN '60' WHEN seconds <= 120 THEN '120' WHEN seconds <= 300 THEN '300'
                   WHEN seconds <= 600 THEN '600' WHEN seconds <= 1800 THEN '1800'
                   WHEN seconds <= 3600 THEN '3600' ELSE '+Inf' END], 1::numeric),
               ('submitted_to_healthy_seconds', ARRAY['sum'], seconds)) AS told (name, labels, amount)
"""
_DECISIONS = """
    SELECT 'decisions_total', ARRAY[CASE WHEN approved THEN 'approved' ELSE 'denied' END], 1::numeric FROM added
    UNION ALL
    SELECT 'violations_total', ARRAY[coalesce(finding->>'policy', ''), coalesce(finding->>'rule', ''), mode], 1
      FROM added CROSS JOIN LATERAL (
          SELECT jsonb_array_elements(violations), 'enforce' UNION ALL SELECT jsonb_array_elements(dry_run), 'dry_run'
      ) AS found (finding, mode)
"""
_ROLLBACKS = """
    SELECT 'rollbacks_total', ARRAY[CASE WHEN source = 'health' THEN coalesce((
        SELECT nullif(split_part(reason, ':', 1), '') FROM deployments
         WHERE workload_id = added.workload_id AND status = 'unhealthy' ORDER BY revision DESC LIMIT 1
    ), 'unknown') ELSE 'requested' END], 1::numeric
      FROM added WHERE decision->>'verb' = 'rollback'
"""
_PLUS, _MINUS = _PHASES.format(times=1, table="added"), _PHASES.format(times=-1, table="taken")
_TALLIES = {
    ("workloads", "insert"): _PLUS,
    ("workloads", "update"): f"{_PLUS} UNION ALL {_MINUS} UNION ALL {_TIMES}",
    ("workloads", "delete"): _MINUS,
    ("policy_decisions", "insert"): _DECISIONS,
    ("action_plans", "insert"): _ROLLBACKS,
}
_REFERENCED = {
    "insert": "NEW TABLE AS added",
    "update": "NEW TABLE AS added OLD TABLE AS taken",
    "delete": "OLD TABLE AS taken",
}
_TRIGGER = """
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
BEGIN
    FOR change IN
        SELECT name, labels, sum(amount) AS amount FROM ({counted}) AS counted (name, labels, amount)
         GROUP BY name, labels HAVING sum(amount) <> 0 ORDER BY name, labels
    LOOP
        PERFORM add_to_tally(change.name, change.labels, change.amount);
    END LOOP;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tallies (
            id uuid CONSTRAINT pk_tallies PRIMARY KEY DEFAULT gen_random_uuid(),
            name text NOT NULL,
            labels text[] NOT NULL,
            value numeric NOT NULL
        )
    """)
    op.execute("CREATE INDEX ix_tallies_name_labels ON tallies (name, labels)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON tallies TO sentinel_app")
    op.execute("CREATE INDEX ix_inbox_unhandled ON inbox (updated_at) WHERE handled_at IS NULL")
    op.execute(_ADD)
    op.execute("LOCK TABLE workloads IN SHARE ROW EXCLUSIVE MODE")
    op.execute("""
        INSERT INTO tallies (name, labels, value)
        SELECT 'workloads', ARRAY[phase, team], count(*) FROM workloads GROUP BY phase, team
    """)
    for (table, verb), counted in _TALLIES.items():
        function = f"tally_{table}_{verb}"
        op.execute(_TRIGGER.replace("{function}", function).replace("{counted}", counted))
        op.execute(
            f"CREATE TRIGGER tallied_{verb} AFTER {verb.upper()} ON {table} REFERENCING {_REFERENCED[verb]}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    for table, verb in _TALLIES:
        op.execute(f"DROP TRIGGER tallied_{verb} ON {table}")
        op.execute(f"DROP FUNCTION tally_{table}_{verb}()")
    op.execute("DROP FUNCTION add_to_tally(text, text[], numeric)")
    op.drop_index("ix_inbox_unhandled", table_name="inbox")
    op.drop_table("tallies")
