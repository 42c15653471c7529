"""A rollback that a breach of an objective led to is counted as that, and not under an unknown reason."""

from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

_ROLLBACKS = """
    SELECT 'rollbacks_total', ARRAY[CASE WHEN source <> 'health' THEN 'requested'{breached} ELSE coalesce((
        SELECT nullif(split_part(reason, ':', 1), '') FROM deployments
         WHERE workload_id = added.workload_id AND status = 'unhealthy' ORDER BY revision DESC LIMIT 1
    ), 'unknown') END], 1::numeric
      FROM added WHERE decision->>'verb' = 'rollback'
"""
# Whoever proposes the plan has written down before that it follows from the breach.
_BREACHED = """
    WHEN EXISTS (
        SELECT FROM slo_breaches AS breach
         WHERE breach.workload_id = added.workload_id AND breach.outcome = 'proposed' AND breach.plan_id = added.id
    ) THEN 'slo_breached'
"""
_TRIGGER = """
CREATE OR REPLACE FUNCTION tally_action_plans_insert() RETURNS trigger LANGUAGE plpgsql AS $$
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
    op.execute(_TRIGGER.replace("{counted}", _ROLLBACKS.replace("{breached}", _BREACHED)))


def downgrade() -> None:
    op.execute(_TRIGGER.replace("{counted}", _ROLLBACKS.replace("{breached}", "")))
