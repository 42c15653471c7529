"""What is measured of the store: one statement, whose cost does not grow with the number of workloads.

What would have to be counted row by row is counted as it happens, by triggers, in `tallies`. A tally is the sum of
several rows: a transaction adds to one that nobody else has locked, so none waits for another.
"""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from shared.models.lifecycle import UNDECIDED_PLANS, Phase, PlanStatus, RevisionStatus
from shared.models.stored import PhaseCount
from shared.store.audit import SHARDS
from shared.telemetry.metrics import Measurement

_LED_ON = (*UNDECIDED_PLANS, PlanStatus.APPROVED, PlanStatus.WAITING, PlanStatus.APPLYING)

# The number of each statement's rows: of teams times clusters and SKUs, of clusters, of what waits, of open letters,
# of breaches that last. Both outcomes of rollouts are there from the beginning: a share needs both.
_ALL = sa.text("""
    SELECT coalesce(json_agg(json_build_array(metric, labels, value)), '[]') FROM (
    SELECT 'sentinel_' || name, labels, sum(value)::float8
      FROM tallies WHERE name <> 'rollouts_failed' GROUP BY name, labels HAVING sum(value) <> 0
    UNION ALL
    SELECT 'sentinel_rollouts_total', ARRAY['healthy'], coalesce(sum(value), 0)
      FROM tallies WHERE name = 'submitted_to_healthy_seconds' AND labels <> '{sum}'
    UNION ALL
    SELECT 'sentinel_rollouts_total', ARRAY['failed'], coalesce(sum(value), 0)
      FROM tallies WHERE name = 'rollouts_failed'
    UNION ALL
    SELECT 'sentinel_unfinished_oldest_seconds', ARRAY[status], extract(epoch FROM now() - since)
      FROM (SELECT status, (SELECT created_at FROM action_plans WHERE action_plans.status = led.status
                             ORDER BY created_at, id LIMIT 1)
              FROM unnest(CAST(:led_on AS text[])) AS led (status)
            UNION ALL
            SELECT :verifying, min(applied_at) FROM deployments WHERE status = :verifying_literal
           ) AS oldest (status, since)
     WHERE since IS NOT NULL
    UNION ALL
    SELECT 'sentinel_queue_longest_wait_seconds', '{}', coalesce(extract(epoch FROM now() - (
        SELECT created_at FROM action_plans WHERE status = :queued ORDER BY created_at, id LIMIT 1)), 0)
    UNION ALL
    SELECT metric, ARRAY[team, cluster, sku], value
      FROM usage
           CROSS JOIN LATERAL (VALUES ('sentinel_reserved_gpus', gpus::float8),
                                      ('sentinel_reserved_replicas', replicas::float8),
                                      ('sentinel_cost_usd_per_hour', usd_per_hour::float8)) AS held (metric, value)
     WHERE replicas <> 0 OR gpus <> 0 OR usd_per_hour <> 0
    UNION ALL
    SELECT 'sentinel_capacity_gpus', ARRAY[name, key], value::float8
      FROM clusters CROSS JOIN jsonb_each_text(coalesce(gpus, '{}'))
    UNION ALL
    SELECT 'sentinel_cluster_last_contact_seconds', ARRAY[name], extract(epoch FROM now() - contacted_at)
      FROM clusters WHERE contacted_at IS NOT NULL
    UNION ALL
    SELECT 'sentinel_cluster_away', ARRAY[name], (away_until IS NOT NULL)::int FROM clusters
    UNION ALL
    SELECT metric, '{}', value
      FROM (SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(updated_at)), 0) AS oldest
              FROM inbox WHERE handled_at IS NULL) AS inbox
           CROSS JOIN LATERAL (VALUES ('sentinel_inbox_unhandled_events', events),
                                      ('sentinel_inbox_oldest_seconds', oldest)) AS told (metric, value)
    UNION ALL
    SELECT metric, '{}', value
      FROM (SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(created_at)), 0) AS oldest
              FROM outbox WHERE published_at IS NULL AND refused IS NULL) AS outbox
           CROSS JOIN LATERAL (VALUES ('sentinel_outbox_events', events),
                                      ('sentinel_outbox_oldest_seconds', oldest)) AS told (metric, value)
    UNION ALL
    SELECT 'sentinel_outbox_refused_events', '{}', count(*) FROM outbox WHERE refused IS NOT NULL
    UNION ALL
    SELECT 'sentinel_dead_letters', ARRAY[consumer], count(*) FROM dead_letters
     WHERE redriven_at IS NULL GROUP BY consumer
    UNION ALL
    SELECT 'sentinel_telemetry_lag_seconds', ARRAY[cluster], extract(epoch FROM now() - min(contacted_at))
      FROM agents WHERE contacted_at > now() - interval '1 day' GROUP BY cluster
    UNION ALL
    SELECT 'sentinel_collection_lag_seconds', ARRAY[subject], extract(epoch FROM now() - until)
      FROM metric_collections WHERE workload_id IS NULL AND (found_at > now() - interval '15 minutes' OR failures > 0)
       AND until IS NOT NULL
    UNION ALL
    SELECT 'sentinel_gpu_faults', ARRAY[cluster, kind, blame], count(*)
      FROM gpu_faults WHERE cleared_at IS NULL GROUP BY cluster, kind, blame
    UNION ALL
    SELECT 'sentinel_nodes_excluded', ARRAY[cluster], count(*) FROM nodes
     WHERE excluded_at IS NOT NULL OR faulty_since IS NOT NULL GROUP BY cluster
    UNION ALL
    SELECT metric, ARRAY[team, policy, factor::text], value
      FROM (SELECT w.team, b.policy, b.factor, count(*) AS breaches, max(b.burn_rate) AS rate
              FROM slo_breaches AS b JOIN workloads AS w ON w.id = b.workload_id
             WHERE b.over_at IS NULL GROUP BY w.team, b.policy, b.factor) AS lasting
           CROSS JOIN LATERAL (VALUES ('sentinel_slo_breaches', breaches::float8),
                                      ('sentinel_slo_burn_rate', rate)) AS told (metric, value)
    UNION ALL
    SELECT 'sentinel_audit_rows_total', ARRAY[shard::text], sequence
      FROM generate_series(0, :last_shard) AS shards (shard)
           CROSS JOIN LATERAL (SELECT sequence FROM audit_log WHERE audit_log.shard = shards.shard
                                ORDER BY sequence DESC LIMIT 1) AS head
    ) AS measured (metric, labels, value)
""").bindparams(
    # A plan for whatever status could not use the index of those that are verified.
    sa.bindparam("verifying_literal", RevisionStatus.VERIFYING.value, literal_execute=True),
    led_on=[status.value for status in _LED_ON],
    queued=PlanStatus.QUEUED.value,
    verifying=RevisionStatus.VERIFYING.value,
    last_shard=SHARDS - 1,
)
_PHASES = sa.text("""
    SELECT labels[1] AS phase, labels[2] AS team, sum(value)::bigint AS workloads
      FROM tallies
     WHERE name = 'workloads' AND (CAST(:teams AS text[]) IS NULL OR labels[2] = ANY(CAST(:teams AS text[])))
     GROUP BY labels HAVING sum(value) <> 0 ORDER BY labels[2], labels[1]
""")
_ADD = sa.text("SELECT add_to_tally(:name, CAST(:labels AS text[]), :amount)")


@dataclass(frozen=True)
class MeasurementRows:
    """Measurements, inside one transaction."""

    connection: sa.Connection

    def all(self) -> list[Measurement]:
        """Everything but what policies say."""
        found = self.connection.execute(_ALL).scalar_one()
        return [Measurement(metric, tuple(labels), float(value)) for metric, labels, value in found]

    def workloads(self, teams: Collection[str] | None) -> list[PhaseCount]:
        """How many workloads of each team are in each phase, by team and phase. teams: whose; None for all."""
        found = self.connection.execute(_PHASES, {"teams": None if teams is None else sorted(teams)})
        return [PhaseCount(row.team, Phase(row.phase), row.workloads) for row in found]

    def count(self, metric: str, *labels: str, number: int = 1) -> None:
        """Adds to a counter. The rows of counters are locked after all others but the audit log's."""
        values = {"name": metric.removeprefix("sentinel_"), "labels": list(labels), "amount": number}
        self.connection.execute(_ADD, values)
