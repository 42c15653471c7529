"""What must be true of the ledger in every snapshot, as queries that find nothing; some of it checked at every commit.

Nothing here is shared with the product: limits are counted from the reservations, money from what workloads were
charged, and both are compared with the usage that policy counts in.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal

import sqlalchemy as sa

from shared.policy.documents import PolicyDocument
from shared.policy.rules.amounts import CostCeiling, Quota

_AMOUNTS = ("replicas", "cpu", "memory", "gpus", "usd_per_hour")
_SUMS = ", ".join(f"sum({name}) AS {name}" for name in _AMOUNTS)
_ROW = "ROW(" + ", ".join("coalesce({0}." + name + ", 0)" for name in _AMOUNTS) + ")"

_SETUP = f"""
CREATE SCHEMA checked;

-- key: of one scope alone. sku: of one SKU alone.
CREATE TABLE checked.limits (kind text, key text, field text, sku text, cap numeric,
    month timestamp DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC'));

CREATE VIEW checked.exceeded AS
SELECT l.kind, s.key, l.field, l.sku, l.cap, sum(s.value) AS held
  FROM checked.limits AS l
 CROSS JOIN reservations AS r
 CROSS JOIN LATERAL (
    SELECT CASE l.kind WHEN 'workload' THEN r.workload_id::text WHEN 'team' THEN r.team WHEN 'cluster' THEN r.cluster
                       ELSE '' END AS key,
           CASE l.field {"".join(f" WHEN '{name}' THEN r.{name}::numeric" for name in _AMOUNTS)} END AS value
 ) AS s
 WHERE l.field <> 'usd_per_month' AND (l.sku IS NULL OR r.sku IN (l.sku, '')) AND (l.key IS NULL OR l.key = s.key)
 GROUP BY l.kind, s.key, l.field, l.sku, l.cap
HAVING sum(s.value) > l.cap;

-- What each team has been charged this month, what its lines have cost since, and what they will to the month's end.
CREATE VIEW checked.months AS
WITH this AS (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS month),
     edges AS (SELECT month AT TIME ZONE 'UTC' AS first, (month + interval '1 month') AT TIME ZONE 'UTC' AS next
                 FROM this)
SELECT team, sum(spent) AS spent, sum(projected) AS projected FROM (
    SELECT w.team, c.usd AS spent, c.usd AS projected
      FROM this JOIN workload_costs AS c ON c.day >= this.month JOIN workloads AS w ON w.id = c.workload_id
    UNION ALL
    SELECT team, usd_per_hour * extract(epoch FROM now() - greatest(accrued_at, first)) / 3600,
           usd_per_hour * extract(epoch FROM next - greatest(accrued_at, first)) / 3600
      FROM edges CROSS JOIN reservations
) AS costs GROUP BY team;

-- Dividing by 3600 is exact to a millionth of a micro-dollar a charge. A ceiling is reached in a month of which little
-- is left, and says nothing of the next.
CREATE VIEW checked.overspent AS
SELECT l.kind, m.key, l.field, l.sku, l.cap, m.projected AS held FROM checked.limits AS l
  JOIN (SELECT 'team' AS kind, team AS key, projected FROM checked.months
         UNION ALL SELECT 'global', '', sum(projected) FROM checked.months) AS m USING (kind)
 WHERE l.field = 'usd_per_month' AND m.projected > l.cap + 0.000000001 AND (l.key IS NULL OR l.key = m.key)
   AND l.month = date_trunc('month', now() AT TIME ZONE 'UTC');

CREATE FUNCTION checked.books() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    line record := coalesce(NEW, OLD);
    mismatch boolean;
BEGIN
    SELECT {_ROW.format("u")} IS DISTINCT FROM {_ROW.format("r")} INTO mismatch
      FROM (SELECT {_SUMS} FROM usage AS x WHERE (team, cluster, sku) = (line.team, line.cluster, line.sku)) AS u,
           (SELECT {_SUMS} FROM reservations WHERE (team, cluster, sku) = (line.team, line.cluster, line.sku)) AS r;
    IF mismatch THEN
        RAISE EXCEPTION 'usage is not the sum of the reservations of %/%/%', line.team, line.cluster, line.sku;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION checked.approval() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    over record;
BEGIN
    SELECT * INTO over FROM (TABLE checked.exceeded UNION ALL TABLE checked.overspent) AS limits LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'an approval exceeds a limit: %; it is of %, decided on %', over,
            (SELECT p.decision FROM action_plans AS p WHERE p.id = NEW.plan_id), NEW.facts;
    END IF;
    RETURN NULL;
END $$;

-- What is not approved takes nothing: settling gives back.
CREATE FUNCTION checked.settling() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF NEW.state = 'committed' AND NEW.replicas > coalesce(OLD.replicas, 0) THEN
        RAISE EXCEPTION 'settled at more than was held: % was %', NEW, OLD;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER settling AFTER INSERT OR UPDATE ON reservations FOR EACH ROW EXECUTE FUNCTION checked.settling();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT OR UPDATE OR DELETE ON reservations DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION checked.books();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT OR UPDATE OR DELETE ON usage DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION checked.books();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON policy_decisions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.approved) EXECUTE FUNCTION checked.approval()
"""
_LIMIT = "INSERT INTO checked.limits (kind, key, field, sku, cap) VALUES (:kind, :key, :field, :sku, :cap)"
_TEARDOWN = """
DROP TRIGGER settling ON reservations;
DROP TRIGGER checked ON reservations;
DROP TRIGGER checked ON usage;
DROP TRIGGER checked ON policy_decisions;
DROP SCHEMA checked CASCADE
"""

_NEWEST = "action_plans AS p JOIN workloads AS w ON w.plan_id = p.id"
_LIVE = "('intended', 'verifying', 'removing', 'healthy', 'degraded', 'unhealthy')"
_INVARIANTS = {
    "usage is the sum of the reservations": f"""
        SELECT team, cluster, sku, u.*, r.*
          FROM (SELECT team, cluster, sku, {_SUMS} FROM usage GROUP BY 1, 2, 3) AS u
          FULL JOIN (SELECT team, cluster, sku, {_SUMS} FROM reservations GROUP BY 1, 2, 3) AS r
               USING (team, cluster, sku)
         WHERE {_ROW.format("u")} IS DISTINCT FROM {_ROW.format("r")}""",
    "nothing is held below zero": f"""
        SELECT 'used' AS side, team, cluster, sku FROM usage WHERE least({", ".join(_AMOUNTS)}) < 0
         UNION ALL SELECT 'reserved', team, cluster, sku FROM reservations WHERE least({", ".join(_AMOUNTS)}) < 0""",
    "no quota, ceiling or capacity is exceeded": "SELECT * FROM checked.exceeded",
    "no ceiling of a month is exceeded": "SELECT * FROM checked.overspent",
    "one decision lets a plan go on until its hold expires": """
        SELECT d.plan_id, count(*) AS approvals FROM policy_decisions AS d WHERE d.approved
         GROUP BY d.plan_id, d.workload_id
        HAVING count(*) > 1 AND count(*) > 1 + (
            SELECT count(*) FROM audit_log AS a WHERE a.action = 'plan.expired' AND a.subject = d.workload_id::text
               AND convert_from(a.body, 'UTF8')::json->>'plan' = d.plan_id::text)""",
    "a plan has one revision": "SELECT plan_id FROM deployments GROUP BY plan_id HAVING count(*) > 1",
    "what is approved has its lines": f"""
        SELECT p.* FROM {_NEWEST}
         WHERE p.status IN ('approved', 'waiting', 'applying') AND p.decision->>'verb' <> 'remove'
           AND NOT EXISTS (
               SELECT FROM reservations AS r
                WHERE r.plan_id = p.id AND r.workload_id = w.id AND r.cluster = p.decision->>'cluster' AND r.sku = p.sku
                  AND r.team = w.team AND r.replicas >= (p.amounts->>'replicas')::bigint
                  AND r.gpus >= (p.amounts->>'gpus')::bigint
                  AND r.usd_per_hour >= (p.amounts->>'usd_per_hour')::numeric)""",
    # What a revision replaced stays held until it is healthy: its pods go one by one.
    "what is denied or queued holds nothing but what runs": f"""
        WITH refused AS (SELECT w.id, p.decision->>'cluster' AS cluster FROM {_NEWEST}
                          WHERE p.status IN ('denied', 'queued')),
             runs AS (SELECT d.workload_id, d.cluster, d.sku,
                             CASE WHEN d.kind = 'Job' THEN sum((d.amounts->>'gpus')::bigint)
                                  ELSE max((d.amounts->>'gpus')::bigint) END AS gpus,
                             CASE WHEN d.kind = 'Job' THEN sum((d.amounts->>'replicas')::bigint)
                                  ELSE max((d.amounts->>'replicas')::bigint) END AS replicas
                        FROM deployments AS d JOIN refused ON refused.id = d.workload_id
                       WHERE d.status IN {_LIVE} GROUP BY d.workload_id, d.cluster, d.sku, d.kind),
             rolling AS (SELECT DISTINCT d.workload_id, d.cluster, true AS rolls
                           FROM deployments AS d JOIN refused ON refused.id = d.workload_id
                          WHERE d.kind <> 'Job' AND d.status IN ('intended', 'verifying', 'unhealthy')),
             holds AS (SELECT r.workload_id, r.cluster, r.sku, r.gpus, r.replicas
                         FROM reservations AS r JOIN refused ON refused.id = r.workload_id),
             both_sides AS (
                 SELECT workload_id, cluster, sku, coalesce(runs.gpus, 0) AS gpus_run,
                        coalesce(holds.gpus, 0) AS gpus_held, coalesce(runs.replicas, 0) AS replicas_run,
                        coalesce(holds.replicas, 0) AS replicas_held
                   FROM runs FULL JOIN holds USING (workload_id, cluster, sku))
        SELECT * FROM both_sides LEFT JOIN rolling USING (workload_id, cluster)
         WHERE (gpus_run, replicas_run) <> (gpus_held, replicas_held)
           AND NOT coalesce(rolls AND gpus_run <= gpus_held AND replicas_run <= replicas_held, false)""",
    "what is held waits for its execution": """
        SELECT r.* FROM reservations AS r LEFT JOIN action_plans AS p ON p.id = r.plan_id
         WHERE p.id IS NULL OR (r.state = 'held' AND p.status IN ('denied', 'queued', 'executed', 'failed'))""",
    "what is under way was approved": f"""
        SELECT p.* FROM {_NEWEST} WHERE p.status IN ('approved', 'waiting', 'applying', 'executed')
           AND NOT EXISTS (SELECT FROM policy_decisions AS d WHERE d.plan_id = p.id AND d.approved)""",
}
_ACCOUNTS = """
    WITH used AS (SELECT team, sum(
        CASE WHEN accrued_at >= first THEN accrued_usd ELSE 0 END
        + usd_per_hour * extract(epoch FROM now() - greatest(accrued_at, first)) / 3600) AS spent
        FROM usage, (SELECT date_trunc('month', now(), 'UTC') AS first) AS this GROUP BY team)
    SELECT coalesce(max(abs(coalesce(used.spent, 0) - coalesce(months.spent, 0))), 0)
      FROM used FULL JOIN checked.months USING (team)
"""


def install(owner: sa.Engine, documents: list[PolicyDocument], capacities: Mapping[str, int]) -> None:
    """As `checked`, for as long as the database is there."""
    with owner.begin() as connection:
        connection.exec_driver_sql(_SETUP)
        if limits := _limits(documents) + _capped(capacities):
            connection.execute(sa.text(_LIMIT), limits)


@contextmanager
def checked(owner: sa.Engine, documents: list[PolicyDocument], capacities: Mapping[str, int]) -> Iterator[None]:
    """Within the block every commit is checked: the books it touched, and what it approved against `documents`.

    capacities: the GPUs of clusters on which everything queues.
    """
    install(owner, documents, capacities)
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.exec_driver_sql(_TEARDOWN)


def broken(owner: sa.Engine) -> list[str]:
    """What is wrong in one snapshot; at best nothing."""
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return [
            f"{name}: {dict(row)}"
            for name, query in _INVARIANTS.items()
            for row in connection.execute(sa.text(query)).mappings()
        ]


def difference_of_accounts(owner: sa.Engine) -> Decimal:
    """The most, in dollars, by which a team's usage says another cost than its workloads' accounts."""
    with owner.connect() as connection:
        return Decimal(connection.execute(sa.text(_ACCOUNTS)).scalar_one())


def _limits(documents: list[PolicyDocument]) -> list[dict[str, object]]:
    """A row for each limit; a selector may name one team."""
    return [
        {
            "kind": str(rule.scope),
            "key": next(iter(document.selector.teams), None),
            "field": name,
            "sku": sku,
            "cap": cap,
        }
        for document in documents
        for rule in document.rules
        if isinstance(rule, Quota | CostCeiling)
        for name, sku, cap in _caps(rule)
    ]


def _capped(capacities: Mapping[str, int]) -> list[dict[str, object]]:
    return [
        {"kind": "cluster", "key": cluster, "field": "gpus", "sku": None, "cap": Decimal(gpus)}
        for cluster, gpus in capacities.items()
    ]


def _caps(rule: Quota | CostCeiling) -> Iterator[tuple[str, str | None, Decimal]]:
    match rule:
        case Quota():
            yield from ((resource.name, resource.sku, Decimal(limit)) for resource, limit in rule.limits)
        case CostCeiling():
            money = {"usd_per_hour": rule.usd_per_hour, "usd_per_month": rule.usd_per_month}
            yield from ((name, None, usd) for name, usd in money.items() if usd is not None)
