"""Rollouts that fail are counted, as those that became healthy are: the share of both is an objective of Sentinel."""

from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

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
# A workload that was healthy and fails later is no rollout, and a rollback or a removal is none that counts above.
_FAILED = """
    SELECT 'rollouts_failed', ARRAY[]::text[], 1::numeric
      FROM added JOIN taken USING (id) JOIN action_plans AS plan ON plan.id = added.plan_id
     WHERE added.phase IN ('unhealthy', 'failed') AND taken.phase IN ('applying', 'verifying')
       AND plan.decision->>'verb' NOT IN ('rollback', 'remove')
"""
_TRIGGER = """
CREATE OR REPLACE FUNCTION tally_workloads_update() RETURNS trigger LANGUAGE plpgsql AS $$
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
_PLUS, _MINUS = _PHASES.format(times=1, table="added"), _PHASES.format(times=-1, table="taken")


def upgrade() -> None:
    op.execute(_TRIGGER.replace("{counted}", " UNION ALL ".join((_PLUS, _MINUS, _TIMES, _FAILED))))


def downgrade() -> None:
    op.execute(_TRIGGER.replace("{counted}", " UNION ALL ".join((_PLUS, _MINUS, _TIMES))))
    op.execute("DELETE FROM tallies WHERE name = 'rollouts_failed'")
