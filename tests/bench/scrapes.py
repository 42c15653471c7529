"""A scrape of the api's /metrics, with 1,000 workloads stored and with 100,000.

Both databases have the same teams, clusters, GPU nodes, faults, dead letters and breaches, so both answer as many
series. What grows with the workloads is their history: plans, revisions, decisions, events and the audit log, and
with it the plans that wait in the queue and the rollouts that go on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.table import Table

from shared.identity import keys
from shared.store.audit import SHARDS
from tests.bench import fleet, rest
from tests.bench.lists import LIMIT, SIZES, Caller, in_turns

REQUESTS = 100
_KINDS = {"from the database": timedelta(0), "kept from the scrape before": timedelta(hours=1)}

_TEAMS, _CLUSTERS, _NODES = 50, 10, 40
"""Nodes of each cluster, with 8 GPUs each."""

_SHAPE = f"""
    UPDATE workloads SET team = 'team-' || get_byte(decode(left(md5(name), 2), 'hex'), 0) % {_TEAMS},
                         cluster = 'c-' || get_byte(decode(left(md5(name), 2), 'hex'), 0) % {_CLUSTERS},
                         phase = (ARRAY['denied', 'failed', 'degraded', 'queued', 'verifying', 'completed', 'healthy'])
                                 [1 + least(6, get_byte(decode(left(md5(id::text), 2), 'hex'), 0) % 40)];
    UPDATE action_plans p
       SET team = w.team, created_at = now() - random() * interval '30 days',
           status = CASE w.phase WHEN 'queued' THEN 'queued' WHEN 'denied' THEN 'denied' ELSE p.status END,
           queued_at = CASE w.phase WHEN 'queued' THEN now() END
      FROM workloads w WHERE w.id = p.workload_id;
    UPDATE deployments d SET status = w.phase, cluster = w.cluster
      FROM workloads w WHERE w.id = d.workload_id AND w.phase IN ('verifying', 'degraded', 'completed');
    UPDATE reservations r SET team = w.team, cluster = w.cluster FROM workloads w WHERE w.id = r.workload_id;
    DELETE FROM usage;
    INSERT INTO usage (team, cluster, sku, replicas, cpu, memory, gpus, usd_per_hour)
    SELECT 'team-' || t, 'c-' || c, sku, 10, 10, 10, 10, 10
      FROM generate_series(0, {_TEAMS - 1}) t, generate_series(0, {_CLUSTERS - 1}) c, unnest(ARRAY['H100', '']) sku
     WHERE (t + c) % 3 = 0;
    INSERT INTO policy_decisions (id, plan_id, workload_id, approved, violations, warnings, determining, dry_run, facts,
                                  duration_us)
    SELECT md5(id::text || 'd')::uuid, id, workload_id, status <> 'denied',
           CASE WHEN status <> 'denied' THEN '[]' ELSE '[{{"policy": "p", "rule": "quota"}}]'::jsonb END, '[]', '[]',
           '[]', '{{}}', 1
      FROM action_plans;
    INSERT INTO inbox (consumer, source, event_id, digest, attempts, handled_at)
    SELECT 'f-' || f, '/s', n, '\\x', 1, CASE WHEN n > 5 THEN now() END
      FROM generate_series(1, :count) n, generate_series(1, 4) f;
    INSERT INTO outbox (attributes, body, published_at, refused)
    SELECT '{{}}', '\\x', CASE WHEN n > 20 THEN now() END, CASE WHEN n <= 5 THEN 'too large' END
      FROM generate_series(1, :count) n;
    INSERT INTO audit_log (shard, sequence, action, subject, transaction_id, body, previous_hash, hash)
    SELECT s, 1000000 + n, 'plan.approved', md5(n::text), 0, '\\x', '\\x', '\\x'
      FROM generate_series(1, :count / {SHARDS} * 4) n, generate_series(0, {SHARDS - 1}) s;
    INSERT INTO dead_letters (destination, source, event_id, type, attributes, body, body_hash, reason, redriven_at,
                              consumer)
    SELECT 'http://f', '/s', n, 't', '{{}}', '\\x', '\\x', '', CASE WHEN n > 200 THEN now() END, 'f-' || n % 5
      FROM generate_series(1, 1000) n;
    INSERT INTO clusters (name, labels, gpus, contacted_at)
    SELECT 'c-' || c, '{{}}', '{{"H100": {_NODES * 8}, "L4": 8}}', now() FROM generate_series(0, {_CLUSTERS - 1}) c;
    INSERT INTO agents (cluster, node, state, observed_at)
    SELECT 'c-' || c, 'gpu-' || n, 'ok', now()
      FROM generate_series(0, {_CLUSTERS - 1}) c, generate_series(1, {_NODES}) n;
    INSERT INTO nodes (cluster, name, excluded_at)
    SELECT cluster, node, CASE WHEN node = 'gpu-7' THEN now() END FROM agents;
    SELECT make_partition('gpu_samples', now()), make_partition('gpu_minutes', now());
    INSERT INTO gpu_samples (cluster, node, observed_at, gpu, index, product, state)
    SELECT cluster, node, now() - s * interval '10 seconds', 'GPU-' || node || g, g, 'H100', 'ok'
      FROM agents, generate_series(0, 7) g, generate_series(1, 6) s;
    INSERT INTO gpu_faults (id, cluster, node, kind, blame, evidence, observed_at, raised_at, cleared_at)
    SELECT gen_random_uuid(), cluster, node, 'xid', (ARRAY['gpu', 'node', 'pod'])[1 + g], '{{}}', now(), now(),
           CASE WHEN node NOT LIKE 'gpu-1_' THEN now() END
      FROM agents, generate_series(0, 2) g;
    INSERT INTO slo_breaches (id, workload_id, policy, target, factor, long_window, short_window, burn_rate, raised_at,
                              over_at)
    SELECT gen_random_uuid(), id, 'slo', 0.999, factor, '1h', '5m', 20, now(), CASE WHEN number > 40 THEN now() END
      FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM workloads LIMIT 400) w,
           unnest(ARRAY[14.4, 6, 3, 1]) factor
"""


@dataclass(frozen=True)
class ScrapeCost:
    """The median seconds of a scrape, by how many workloads are stored."""

    kind: str
    seconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return self.seconds[-1] / self.seconds[0]


def measure(said: Callable[[str], None]) -> list[ScrapeCost]:
    """Asks the two in turns, request by request."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sentinel-bench-")))
        keys.init(directory)
        callers: dict[str, list[Caller]] = {kind: [] for kind in _KINDS}
        for size in SIZES:
            said(f"metrics: a database with {size} workloads")
            server = stack.enter_context(fleet.server(size))
            fleet.change(server.owner_url, _SHAPE, size)
            token = rest.token(server.url, directory)
            for kind, interval in _KINDS.items():
                port = stack.enter_context(rest.served("api", server.url, directory, interval))
                callers[kind].append(Caller(port, token))
        said(f"metrics: {REQUESTS} scrapes of each")
        return [ScrapeCost(kind, in_turns("/metrics", callers[kind], REQUESTS)) for kind in _KINDS]


def table(costs: Sequence[ScrapeCost]) -> Table:
    """The costs as people read them."""
    small, large = (f"{size:,}" for size in SIZES)
    title = f"P7: a scrape of the metrics, by stored workloads (median of {REQUESTS}, in turns)"
    shown = Table(title=title, title_justify="left")
    for column in ("scrape", f"ms at {small}", f"ms at {large}", "ratio", "promised"):
        shown.add_column(column, justify="left" if column == "scrape" else "right")
    for one in costs:
        first, last = (f"{seconds * 1000:.1f}" for seconds in one.seconds)
        shown.add_row(one.kind, first, last, f"{one.ratio:.2f}", f"<= {LIMIT}")
    return shown
