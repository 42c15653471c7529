"""Every table, as SQLAlchemy Core sees it. Migrations make them; a test compares both. Those of telemetry are in
shared.store.telemetry_tables.

Keys are UUIDs, or the natural key where rows are found by nothing else. Times are UTC. Money is
NUMERIC in US dollars an hour, CPU in millicores, memory in bytes. Prices have six decimals; costs that add up over
time are not rounded.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.models.lifecycle import (
    ANNOUNCED_PLANS,
    FINISHED_REVISIONS,
    LIVE_REVISIONS,
    OBSERVED_REVISIONS,
    SET_ASIDE_PLANS,
    WATCHED_REVISIONS,
    PlanStatus,
    RevisionStatus,
)
from shared.models.sweep import SWEPT_KINDS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _status_in(statuses: Iterable[StrEnum]) -> TextClause:
    """The condition of a partial index."""
    listed = ", ".join(f"'{status.value}'" for status in statuses)
    return text(f"status IN ({listed})")


def _moment(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _kept() -> tuple[Column[Any], Column[Any]]:
    """created_at and updated_at, both by PostgreSQL's clock."""
    return (
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now(), onupdate=func.now()),
    )


def _text(name: str, *, default: str | None = None, nullable: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _amounts() -> tuple[Column[Any], ...]:
    return (
        *(Column(name, BigInteger, nullable=False) for name in ("replicas", "cpu", "memory", "gpus")),
        Column("usd_per_hour", Numeric(20, 6), nullable=False),
    )


NAMES_METRICS = "jsonb_typeof(spec -> 'metrics') = 'object' AND NOT withdrawn"
"""Workloads that name PromQL of their own."""

workloads = Table(
    "workloads",
    metadata,
    Column("id", Uuid, primary_key=True),
    _text("team"),
    _text("namespace"),
    _text("name"),
    Column("generation", BigInteger, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("usd_per_replica_hour", Numeric(20, 6), nullable=False),
    _text("phase"),
    _text("reason", default=""),
    Column("withdrawn", Boolean, nullable=False, server_default=text("false")),
    _text("cluster"),
    Column("plan_id", Uuid, nullable=False),
    Column("revision", Integer, nullable=False, server_default=text("0")),
    Column("queued_plan_id", Uuid),
    *_kept(),
    UniqueConstraint("team", "namespace", "name"),
    Index(None, "phase", "team", "namespace", "name"),
    Index(None, "cluster", "team", "namespace", "name"),
    Index(None, "name", "team", "namespace"),
    Index(None, "created_at", "id"),
    Index(
        "ix_workloads_labels", text("(spec -> 'labels')"), postgresql_using="gin", postgresql_with={"fastupdate": "off"}
    ),
    Index("ix_workloads_queued_plan_id", "id", postgresql_where=text("queued_plan_id IS NOT NULL")),
    Index("ix_workloads_metrics", "id", postgresql_where=text(NAMES_METRICS)),
)

withdrawals = Table(
    "withdrawals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    *_kept(),
    Index(None, "updated_at"),
)

action_plans = Table(
    "action_plans",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("workload_id", Uuid, nullable=False),
    Column("generation", BigInteger, nullable=False),
    _text("source"),
    Column("decision", JSONB, nullable=False),
    _text("sku", default=""),
    Column("amounts", JSONB, nullable=False),
    Column("surge", JSONB, nullable=False),
    _text("status"),
    _text("reason", default=""),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("executions", Integer, nullable=False, server_default=text("0")),
    _moment("next_attempt_at"),
    _moment("lease_until"),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    _moment("queued_at"),
    Column("overtaken", Integer, nullable=False, server_default=text("0")),
    Column("waits_for", JSONB, nullable=False, server_default=text("'[]'")),
    Column("wait_keys", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _text("team", default=""),
    _text("proposed_by", default=""),
    _moment("approval_requested_at"),
    _text("approved_by", default=""),
    _moment("approved_at"),
    _text("approval_reason", default=""),
    _text("traceparent", nullable=True),
    *_kept(),
    Index(None, "workload_id"),
    Index(None, "created_at", "id"),
    Index(None, "status", "created_at", "id"),
    Index(None, "team", "created_at", "id"),
    Index("ix_action_plans_set_aside", "workload_id", postgresql_where=_status_in(SET_ASIDE_PLANS)),
    # Without a list of pending entries, which every search would read.
    Index(
        "ix_action_plans_wait_keys",
        "wait_keys",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=text(f"status = '{PlanStatus.QUEUED}'"),
    ),
    Index(
        "ix_action_plans_queue",
        text("priority DESC"),
        "queued_at",
        "id",
        postgresql_where=text(f"status = '{PlanStatus.QUEUED}'"),
    ),
    Index(
        "ix_action_plans_queue_of_team",
        "team",
        text("priority DESC"),
        "queued_at",
        "id",
        postgresql_where=text(f"status = '{PlanStatus.QUEUED}'"),
    ),
    Index("ix_action_plans_due", "next_attempt_at", postgresql_where=_status_in(ANNOUNCED_PLANS)),
)

queue_cursor = Table(
    "queue_cursor",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("after", Uuid),
    Column("wanted", Boolean, nullable=False, server_default=text("false")),
    _moment("moved_at"),
    *_kept(),
)

policy_decisions = Table(
    "policy_decisions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("plan_id", Uuid, nullable=False),
    Column("workload_id", Uuid, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("violations", JSONB, nullable=False),
    Column("warnings", JSONB, nullable=False),
    Column("determining", JSONB, nullable=False),
    Column("dry_run", JSONB, nullable=False, server_default=text("'[]'")),
    Column("facts", JSONB, nullable=False),
    Column("duration_us", Integer, nullable=False),
    *_kept(),
    Index(None, "plan_id"),
    Index(None, "workload_id"),
    Index(None, "created_at", "id"),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("document", JSONB, nullable=False),
    *_kept(),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("policy_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    _text("change"),
    _text("author"),
    Column("document", JSONB, nullable=False),
    *_kept(),
    UniqueConstraint("policy_id", "version"),
)

policy_set = Table(
    "policy_set",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("revision", Uuid, nullable=False),
    *_kept(),
)

backtests = Table(
    "backtests",
    metadata,
    Column("id", Uuid, primary_key=True),
    _text("requested_by"),
    _text("state"),
    Column("command", JSONB, nullable=False),
    Column("report", JSONB(none_as_null=True)),
    _text("problem", default=""),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("lease_until"),
    *_kept(),
    Index(None, "created_at"),
)

DOUBTFUL = (
    "status = 'degraded' OR (status = 'healthy' AND ready_since IS NULL)"
    " OR (status = 'unhealthy' AND ready_since IS NOT NULL) OR suspected_at IS NOT NULL"
)
"""Revisions that are observed with every tick: they lacked replicas when they were observed last, they had failed and
are ready, or a sweep has put them under suspicion."""

deployments = Table(
    "deployments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("workload_id", Uuid, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("plan_id", Uuid, nullable=False),
    _text("cluster"),
    _text("kind"),
    _text("namespace"),
    _text("name"),
    _text("uid", nullable=True),
    Column("manifest", JSONB, nullable=False),
    _text("sku", default=""),
    Column("amounts", JSONB, nullable=False),
    Column("rollback_of", Integer),
    Column("deadline", Interval),
    Column("bake", Interval),
    _text("status"),
    _text("reason", default=""),
    _moment("applied_at"),
    _moment("deadline_at"),
    _moment("ready_since"),
    _moment("healthy_at"),
    _moment("observed_at"),
    _moment("notice_budget_full_at"),
    _moment("suspected_at"),
    _text("object_digest", nullable=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    _text("traceparent", nullable=True),
    *_kept(),
    UniqueConstraint("workload_id", "revision"),
    Index(None, "plan_id"),
    Index("ix_deployments_watched", "observed_at", "id", postgresql_where=_status_in(WATCHED_REVISIONS)),
    Index(
        "ix_deployments_on_cluster",
        "cluster",
        "kind",
        "namespace",
        "name",
        postgresql_where=_status_in((*LIVE_REVISIONS, *FINISHED_REVISIONS)),
    ),
    Index("ix_deployments_verifying", "applied_at", postgresql_where=_status_in((RevisionStatus.VERIFYING,))),
    Index("ix_deployments_doubtful", "observed_at", "id", postgresql_where=text(DOUBTFUL)),
    Index(
        "ix_deployments_object",
        "namespace",
        "name",
        "kind",
        postgresql_where=_status_in(OBSERVED_REVISIONS),
    ),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("workload_id", Uuid, nullable=False),
    _text("cluster"),
    _text("sku"),
    _text("team"),
    Column("plan_id", Uuid, nullable=False),
    _text("state"),
    *_amounts(),
    _moment("expires_at"),
    Column("accrued_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    *_kept(),
    UniqueConstraint("workload_id", "cluster", "sku"),
    Index(None, "plan_id"),
    Index(None, "team", "workload_id", "cluster", "sku"),
    Index(None, "cluster", "workload_id", "sku"),
    Index("ix_reservations_held", "workload_id", "cluster", "sku", postgresql_where=text("state = 'held'")),
)

UNUSED = "replicas = 0 AND cpu = 0 AND memory = 0 AND gpus = 0 AND usd_per_hour = 0"
"""Rows of usage that count nothing any more; what they have cost is of no interest once its month is over."""

usage = Table(
    "usage",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("team"),
    _text("cluster"),
    _text("sku"),
    *_amounts(),
    Column("accrued_usd", Numeric, nullable=False, server_default=text("0")),
    Column("accrued_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    *_kept(),
    UniqueConstraint("team", "cluster", "sku"),
    Index(None, "cluster"),
    Index("ix_usage_unused", "accrued_at", postgresql_where=text(UNUSED)),
)

# Of every cluster, and of everything together where `cluster` is empty: the sum of several rows. A trigger of `usage`
# keeps them, whoever writes there.
usage_totals = Table(
    "usage_totals",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("cluster"),
    _text("sku"),
    *_amounts(),
    Column("accrued_usd", Numeric, nullable=False, server_default=text("0")),
    Column("accrued_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    *_kept(),
    Index(None, "cluster", "sku"),
)

# What lines of reservations have cost up to their last charge, by day in UTC. What was charged before there were days
# is on the first day of its month, without a cluster and a SKU.
workload_costs = Table(
    "workload_costs",
    metadata,
    Column("workload_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("cluster", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    _text("team"),
    Column("usd", Numeric, nullable=False),
    Column("gpu_hours", Numeric, nullable=False),
    *_kept(),
    Index(None, "day", "team"),
)

# Counts that metrics are made of; triggers of other tables keep them. See shared.store.measurements.
tallies = Table(
    "tallies",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("name"),
    Column("labels", ARRAY(Text), nullable=False),
    Column("value", Numeric, nullable=False),
    Index(None, "name", "labels"),
)

actions = Table(
    "actions",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("plan_id", Uuid, nullable=False, unique=True),
    Column("workload_id", Uuid, nullable=False),
    _text("team"),
    _text("cluster"),
    _text("verb"),
    _moment("taken_at", nullable=False),
    *_kept(),
    Index(None, "taken_at"),
    # The plan is in them so that the table need not be read.
    *(
        Index(None, *scope, "verb", "taken_at", postgresql_include=["plan_id"])
        for scope in (("workload_id",), ("team",), ("cluster",), ())
    ),
)

clusters = Table(
    "clusters",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("name", Text, nullable=False, unique=True),
    Column("labels", JSONB, nullable=False),
    Column("gpus", JSONB(none_as_null=True)),
    _text("state", default="active"),
    Column("products", JSONB, nullable=False, server_default=text("'[]'")),
    _moment("products_read_at"),
    _moment("contacted_at"),
    _moment("away_until"),
    Column("away_attempts", Integer, nullable=False, server_default=text("0")),
    _text("away_reason", default=""),
    *_kept(),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("page", BigInteger, nullable=False, server_default=text("0")),
    _text("kind", default=SWEPT_KINDS[0]),
    _text("namespace", default=""),
    _text("token", default=""),
    _text("after_namespace", default=""),
    _text("after_name", default=""),
    _moment("started_at"),
    _moment("reading_until"),
    Column(
        "next_page_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("(now() + '00:01:00'::interval)"),
    ),
    *_kept(),
)

orphans = Table(
    "orphans",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("cluster"),
    _text("kind"),
    _text("namespace"),
    _text("name"),
    _text("uid"),
    _text("instance", default=""),
    Column("revision", BigInteger),
    _moment("seen_at", nullable=False),
    _text("requested_by", default=""),
    *_kept(),
    UniqueConstraint("cluster", "kind", "namespace", "name"),
)

EXCLUDED = "excluded_at IS NOT NULL OR faulty_since IS NOT NULL"
"""Nodes that take no new pods: an operator says so, or their hardware has failed."""

nodes = Table(
    "nodes",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("gpus", JSONB(none_as_null=True)),
    _moment("excluded_at"),
    _text("excluded_by", default=""),
    _text("reason", default=""),
    _moment("faulty_since"),
    _moment("proven_at"),
    *_kept(),
    Index("ix_nodes_excluded", "cluster", "name", postgresql_where=text(EXCLUDED)),
    Index("ix_nodes_proven", "proven_at", postgresql_where=text("proven_at IS NOT NULL")),
)

# One row a cluster from its first fault on: faults of a fleet are counted under its lock.
fleets = Table(
    "fleets",
    metadata,
    Column("cluster", Text, primary_key=True),
    _moment("suspected_at"),
    *_kept(),
)

gpu_faults = Table(
    "gpu_faults",
    metadata,
    Column("id", Uuid, primary_key=True),
    _text("cluster"),
    _text("node"),
    _text("gpu", nullable=True),
    _text("kind"),
    _text("blame"),
    Column("xid", Integer),
    _text("action", nullable=True),
    _text("message", default=""),
    Column("evidence", JSONB, nullable=False),
    _moment("observed_at", nullable=False),
    _moment("raised_at"),
    _moment("cleared_at"),
    *_kept(),
    Index("ix_gpu_faults_raised", "cluster", "raised_at", postgresql_where=text("blame <> 'pod'")),
    Index("ix_gpu_faults_open", "cluster", "node", postgresql_where=text("cleared_at IS NULL")),
    Index(None, "updated_at"),
)

fault_responses = Table(
    "fault_responses",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("fault_id", Uuid, nullable=False),
    Column("workload_id", Uuid, nullable=False),
    _text("outcome"),
    Column("plan_id", Uuid),
    _moment("decided_at", nullable=False),
    *_kept(),
    UniqueConstraint("fault_id", "workload_id"),
    Index(None, "updated_at"),
    Index(
        "ix_fault_responses_proposed",
        "workload_id",
        "decided_at",
        postgresql_where=text("outcome = 'proposed'"),
    ),
    Index("ix_fault_responses_waiting", "decided_at", postgresql_where=text("outcome = 'waiting'")),
)

idle_warnings = Table(
    "idle_warnings",
    metadata,
    Column("workload_id", Uuid, primary_key=True),
    _moment("warned_at", nullable=False),
    Column("plan_id", Uuid),
    *_kept(),
)

# When the error budgets of a workload are looked at again. A workload is here while telemetry of it comes, or a breach
# of it lasts.
slo_checks = Table(
    "slo_checks",
    metadata,
    Column("workload_id", Uuid, primary_key=True),
    _moment("due_at", nullable=False),
    Index(None, "due_at"),
)

# An error budget that burned more than `factor` times too fast over two windows. burn_rate: when it was looked at last.
# outcome, plan_id, decided_at: what it has led to.
slo_breaches = Table(
    "slo_breaches",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("workload_id", Uuid, nullable=False),
    _text("policy"),
    *(Column(name, Double, nullable=False) for name in ("target", "factor")),
    *(Column(name, Interval, nullable=False) for name in ("long_window", "short_window")),
    Column("burn_rate", Double, nullable=False),
    _moment("raised_at", nullable=False),
    _moment("over_at"),
    _text("outcome", nullable=True),
    Column("plan_id", Uuid),
    _moment("decided_at"),
    *_kept(),
    Index(
        "uq_slo_breaches_open",
        "workload_id",
        "target",
        "factor",
        "long_window",
        "short_window",
        unique=True,
        postgresql_where=text("over_at IS NULL"),
    ),
    Index("ix_slo_breaches_proposed", "workload_id", "decided_at", postgresql_where=text("outcome = 'proposed'")),
    Index("ix_slo_breaches_waiting", "decided_at", postgresql_where=text("outcome = 'waiting'")),
    Index(None, "over_at"),
)

# What is collected from Prometheus together: a source of shared/telemetry/service_queries.csv, or what a workload names
# that had this generation. number: counts announcements and claims; whoever knows it may read until reading_until.
# until: the last minute that is stored. failure: why nothing was collected the last time.
metric_collections = Table(
    "metric_collections",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("workload_id", Uuid),
    Column("generation", BigInteger, nullable=False, server_default=text("0")),
    Column("number", BigInteger, nullable=False, server_default=text("0")),
    _moment("due_at", nullable=False),
    *(_moment(name) for name in ("reading_until", "asked_at", "until", "found_at")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("workloads", "failures")),
    _text("failure", default=""),
    *_kept(),
    Index(None, "due_at"),
)

prices = Table(
    "prices",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("kind"),
    _text("sku", default=""),
    _text("cluster", default=""),
    Column("usd_per_hour", Numeric(20, 6), nullable=False),
    _text("source"),
    Column("priced_on", Date, nullable=False),
    *_kept(),
    UniqueConstraint("kind", "sku", "cluster"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    _moment("handled_at"),
    Column("reply_attributes", JSONB(none_as_null=True)),
    Column("reply_body", LargeBinary),
    *_kept(),
    Index(None, "updated_at"),
    Index("ix_inbox_unhandled", "updated_at", postgresql_where=text("handled_at IS NULL")),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("attributes", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _moment("published_at"),
    _text("refused", nullable=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("next_attempt_at"),
    *_kept(),
    Index("ix_outbox_pending", "created_at", "id", postgresql_where=text("published_at IS NULL AND refused IS NULL")),
    Index("ix_outbox_refused", "updated_at", postgresql_where=text("refused IS NOT NULL")),
    Index(None, "published_at"),
)

retention_cursors = Table(
    "retention_cursors",
    metadata,
    Column("table_name", Text, primary_key=True),
    _moment("after_moment"),
    Column("after_id", Uuid),
    Column("after_revision", Integer),
    *_kept(),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("owner"),
    _text("key"),
    Column("digest", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    *_kept(),
    UniqueConstraint("owner", "key"),
    Index(None, "created_at"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("destination"),
    _text("source"),
    _text("event_id"),
    _text("type"),
    _text("subject", nullable=True),
    Column("attributes", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("error_code", Integer),
    _text("reason"),
    Column("deliveries", Integer, nullable=False, server_default=text("1")),
    _moment("redriven_at"),
    _text("consumer", default=""),
    Column("digest", LargeBinary),
    *_kept(),
    UniqueConstraint("destination", "source", "event_id", "body_hash"),
    Index(None, "created_at", "id"),
    Index("ix_dead_letters_open_created_at", "created_at", "id", postgresql_where=text("redriven_at IS NULL")),
    Index("ix_dead_letters_open", "updated_at", postgresql_where=text("redriven_at IS NULL")),
    Index("ix_dead_letters_redriven", "redriven_at", postgresql_where=text("redriven_at IS NOT NULL")),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    _text("kind"),
    _text("name"),
    _text("issuer", default=""),
    _text("password_hash", nullable=True),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    *_kept(),
    UniqueConstraint("kind", "name", "issuer"),
)

role_bindings = Table(
    "role_bindings",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("account_id", Uuid, nullable=False),
    _text("role"),
    _text("team", default=""),
    *_kept(),
    UniqueConstraint("account_id", "role", "team"),
    Index(None, "created_at", "id"),
    Index(None, "team", "created_at", "id"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("family", Uuid, nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    _moment("expires_at", nullable=False),
    _moment("used_at"),
    _moment("revoked_at"),
    *_kept(),
    Index(None, "family"),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

account_tokens = Table(
    "account_tokens",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("account_id", Uuid, nullable=False),
    _text("description", default=""),
    _moment("expires_at", nullable=False),
    _moment("revoked_at"),
    *_kept(),
    Index(None, "account_id"),
    Index(None, "expires_at"),
)

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    _moment("blocked_until"),
    *_kept(),
    Index(None, "updated_at"),
)

denials = Table(
    "denials",
    metadata,
    Column("key", Text, primary_key=True),
    Column("subjects", ARRAY(Text), nullable=False),
    Column("entry", JSONB, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("earlier", BigInteger, nullable=False),
    _moment("began_at", nullable=False),
    *_kept(),
    Index(None, "updated_at"),
)

source_bindings = Table(
    "source_bindings",
    metadata,
    Column("name", Text, primary_key=True),
    _text("source"),
    *(Column(name, ARRAY(Text), nullable=False) for name in ("teams", "namespaces", "actions")),
    *_kept(),
)

namespace_bindings = Table(
    "namespace_bindings",
    metadata,
    Column("team", Text, primary_key=True),
    Column("namespaces", ARRAY(Text), nullable=False),
    *_kept(),
)

binding_set = Table(
    "binding_set",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("revision", Uuid, nullable=False),
    *_kept(),
)

CURRENT_TRANSACTION = "((pg_current_xact_id())::text)::bigint"
AUDIT_ORDER = ("transaction_id", "recorded_at", "shard", "sequence")
"""The order in which rows of the audit log became visible; see shared.store.audit."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("shard", SmallInteger, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    _text("action"),
    _text("subject"),
    _text("actor", default="system"),
    _text("team", nullable=True),
    Column("transaction_id", BigInteger, nullable=False, server_default=text(CURRENT_TRANSACTION)),
    Column("body", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_audit_log_transaction_id", *AUDIT_ORDER),
    *(Index(f"ix_audit_log_{name}", name, *AUDIT_ORDER) for name in ("subject", "actor", "action", "team")),
)
