"""Telemetry in typed columns: samples in partitions, rollups, what agents have told, and what was dropped.

What workloads have reported so far becomes rollups, because policy looks back over weeks. What GPUs have reported so
far goes: its names were anybody's.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_GPU_FIELDS = """
    utilization_percent memory_utilization_percent encoder_utilization_percent decoder_utilization_percent
    memory_total_bytes memory_used_bytes memory_free_bytes memory_reserved_bytes temperature_celsius
    memory_temperature_celsius temperature_slowdown_celsius fan_speed_percent power_watts power_limit_watts
    energy_joules_total sm_clock_hertz memory_clock_hertz graphics_clock_hertz video_clock_hertz
    sm_clock_maximum_hertz throttle_reasons performance_state pcie_link_generation pcie_link_width
    pcie_link_generation_maximum pcie_link_width_maximum pcie_replays_total pcie_transmitted_bytes_per_second
    pcie_received_bytes_per_second nvlinks_active nvlinks_supported nvlink_crc_flit_errors_total
    nvlink_crc_data_errors_total nvlink_replay_errors_total nvlink_recovery_errors_total
    ecc_single_bit_volatile_total ecc_double_bit_volatile_total ecc_single_bit_aggregate_total
    ecc_double_bit_aggregate_total remapped_rows_correctable_total remapped_rows_uncorrectable_total
    remapped_rows_pending row_remap_failure retired_pages_single_bit_total retired_pages_double_bit_total
    retired_pages_pending last_xid
"""
_GPU_ROLLUPS = """
    utilization_percent_mean utilization_percent_max memory_utilization_percent_mean memory_utilization_percent_max
    encoder_utilization_percent_mean decoder_utilization_percent_mean memory_total_bytes_max memory_used_bytes_mean
    memory_used_bytes_max temperature_celsius_mean temperature_celsius_max memory_temperature_celsius_mean
    memory_temperature_celsius_max fan_speed_percent_mean power_watts_mean power_watts_max power_limit_watts_max
    energy_joules_total_max sm_clock_hertz_mean sm_clock_hertz_max memory_clock_hertz_mean pcie_replays_total_max
    pcie_transmitted_bytes_per_second_mean pcie_transmitted_bytes_per_second_max
    pcie_received_bytes_per_second_mean pcie_received_bytes_per_second_max nvlinks_active_mean
    nvlink_crc_flit_errors_total_max nvlink_crc_data_errors_total_max nvlink_replay_errors_total_max
    nvlink_recovery_errors_total_max ecc_single_bit_volatile_total_max ecc_double_bit_volatile_total_max
    ecc_single_bit_aggregate_total_max ecc_double_bit_aggregate_total_max remapped_rows_correctable_total_max
    remapped_rows_uncorrectable_total_max remapped_rows_pending_max row_remap_failure_max
    retired_pages_single_bit_total_max retired_pages_double_bit_total_max retired_pages_pending_max
"""
_WORKLOAD_FIELDS = (
    "up",
    "requests",
    "errors",
    "latency_p50_seconds",
    "latency_p95_seconds",
    "latency_p99_seconds",
)
_PERCENTILES = (50, 95, 99)
_PARTITIONED = ("gpu_samples", "gpu_minutes", "gpu_hours", "workload_samples", "workload_minutes", "workload_hours")

# ATTACH takes a lock that hinders no insert into other partitions; CREATE TABLE .. PARTITION OF would wait for them.
_MAKE_PARTITION = """
CREATE FUNCTION make_partition(parent text, moment timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    period text := CASE
        WHEN parent IN ('gpu_samples', 'workload_samples', 'gpu_minutes', 'workload_minutes') THEN 'day'
        WHEN parent IN ('gpu_hours', 'workload_hours') THEN 'month'
    END;
    begins timestamptz := date_trunc(period, moment);
    child text := parent || to_char(begins, CASE period WHEN 'day' THEN '_YYYY_MM_DD' ELSE '_YYYY_MM' END);
BEGIN
    IF child IS NULL THEN
        RAISE EXCEPTION '% has no partitions', parent;
    END IF;
    IF to_regclass('partitions.' || child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(5471004, hashtext(parent));
    -- Not to_regclass: its cache does not know yet what another transaction has made until now.
    IF EXISTS (SELECT FROM pg_class WHERE relname = child AND relnamespace = CAST('partitions' AS regnamespace)) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE partitions.%I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION partitions.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, begins, begins + CAST('1 ' || period AS interval));
END
$$
"""

# Dropping a partition locks its parent: what reads or writes there for longer is left to the next time.
_DROP_PARTITIONS = """
CREATE FUNCTION drop_partitions(parent text, before timestamptz) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '200ms' AS $$
DECLARE
    child record;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT class.relname AS name,
               CAST(substring(pg_get_expr(class.relpartbound, class.oid) FROM 'TO \\(''([^'']+)''\\)') AS timestamptz)
                   AS ends
          FROM pg_inherits AS part
          JOIN pg_class AS class ON class.oid = part.inhrelid
          JOIN pg_namespace AS place ON place.oid = class.relnamespace
         WHERE place.nspname = 'partitions' AND part.inhparent = to_regclass('public.' || quote_ident(parent))
         ORDER BY ends
    LOOP
        EXIT WHEN child.ends > before;
        BEGIN
            EXECUTE format('DROP TABLE partitions.%I', child.name);
        EXCEPTION WHEN lock_not_available THEN
            RETURN dropped;
        END;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$
"""

_NOTE = """
CREATE FUNCTION note_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_rollups (rollup, cluster, subject, starts_at)
    SELECT DISTINCT '{rollup}', {cluster}, {subject}, date_trunc('minute', {moment}, 'UTC') FROM added;
    RETURN NULL;
END
$$
"""
_NOTED = (
    {
        "table": "gpu_samples",
        "rollup": "gpu_minutes",
        "cluster": "cluster",
        "subject": "node",
        "moment": "observed_at",
    },
    {
        "table": "workload_samples",
        "rollup": "workload_minutes",
        "cluster": "''",
        "subject": "CAST(workload_id AS text)",
        "moment": "received_at",
    },
)

_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_REPORTED = f"""
CREATE TEMPORARY TABLE reported ON COMMIT DROP AS
SELECT CAST(subject AS uuid) AS workload_id, observed_at, created_at AS received_at,
       {", ".join(f"CAST(sample -> 'metrics' ->> '{name}' AS double precision) AS {name}" for name in _WORKLOAD_FIELDS)}
  FROM telemetry
 WHERE kind = 'workload' AND lower(subject) ~ '{_UUID}' AND created_at > now() - interval '400 days'
"""  # noqa: S608 - constants
_WEIGHTS = ", ".join(
    f"coalesce(sum(latency_p{p}_seconds * coalesce(requests, 1)), 0),"
    f" coalesce(sum(coalesce(requests, 1)) FILTER (WHERE latency_p{p}_seconds IS NOT NULL), 0)"
    for p in _PERCENTILES
)
_MAKE_FOR_REPORTED = """
SELECT make_partition('{table}', moment)
  FROM (SELECT DISTINCT date_trunc('day', received_at, 'UTC') AS moment FROM reported
         WHERE received_at > now() - interval '{age}' ORDER BY 1) AS days
"""
_ROLL_UP = """
INSERT INTO {table} (workload_id, starts_at, samples, newest_at, up_samples, up, requests, errors, {latencies})
SELECT workload_id, date_trunc('{unit}', received_at, 'UTC'), count(*), max(received_at), count(up),
       coalesce(sum(up), 0), coalesce(sum(requests), 0), coalesce(sum(errors), 0), {weights}
  FROM reported WHERE received_at > now() - interval '{age}' AND received_at <= {until}
 GROUP BY 1, 2
"""
# What is made again from samples must find those of this hour.
_MOVE = f"""
INSERT INTO workload_samples (workload_id, observed_at, received_at, {", ".join(_WORKLOAD_FIELDS)})
SELECT DISTINCT ON (workload_id, observed_at)
       workload_id, observed_at, received_at, {", ".join(_WORKLOAD_FIELDS)}
  FROM reported
 WHERE received_at >= date_trunc('hour', now()) - interval '1 hour'
   AND observed_at BETWEEN now() - interval '3 days' AND now() + interval '1 day'
"""  # noqa: S608 - constants


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _integer(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer, nullable=False)


def _double(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.Double, nullable=nullable)


def upgrade() -> None:
    op.execute("CREATE SCHEMA partitions")
    _create_samples()
    _create_rollups()
    _create_others()
    for function in (_MAKE_PARTITION, _DROP_PARTITIONS):
        op.execute(function)
    for function in ("make_partition(text, timestamptz)", "drop_partitions(text, timestamptz)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO sentinel_app")
    for noted in _NOTED:
        op.execute(_NOTE.format(**noted))
        op.execute(
            f"CREATE TRIGGER noted AFTER INSERT ON {noted['table']} REFERENCING NEW TABLE AS added"
            f" FOR EACH STATEMENT EXECUTE FUNCTION note_{noted['table']}()"
        )
    for table in (*_PARTITIONED, "pending_rollups", "agents", "dropped_samples"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO sentinel_app")
    for table in _PARTITIONED:
        op.execute(f"SELECT make_partition('{table}', now()), make_partition('{table}', now() + interval '1 day')")
    _move_reports()
    op.drop_table("telemetry")


def _create_samples() -> None:
    op.create_table(
        "gpu_samples",
        _text("cluster"),
        _text("node"),
        _moment("observed_at"),
        _text("gpu"),
        _now("received_at"),
        sa.Column("index", sa.SmallInteger, nullable=False),
        _text("product"),
        _text("state"),
        _text("parent", nullable=True),
        _text("profile", nullable=True),
        sa.Column("containers", postgresql.ARRAY(sa.Text)),
        sa.Column("workload_id", sa.Uuid),
        *map(_double, _GPU_FIELDS.split()),
        sa.PrimaryKeyConstraint("cluster", "node", "observed_at", "gpu"),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_table(
        "workload_samples",
        sa.Column("workload_id", sa.Uuid, nullable=False),
        _moment("observed_at"),
        _now("received_at"),
        *map(_double, _WORKLOAD_FIELDS),
        sa.PrimaryKeyConstraint("workload_id", "observed_at"),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_index("ix_workload_samples_workload_id_received_at", "workload_samples", ["workload_id", "received_at"])


def _create_rollups() -> None:
    for name in ("gpu_minutes", "gpu_hours"):
        op.create_table(
            name,
            *map(_text, ("cluster", "node", "gpu")),
            _moment("starts_at"),
            _integer("samples"),
            _integer("allocated_samples"),
            sa.Column("workload_id", sa.Uuid),
            *(_text(column, nullable=True) for column in ("product", "parent", "profile")),
            *map(_double, _GPU_ROLLUPS.split()),
            sa.PrimaryKeyConstraint("cluster", "node", "gpu", "starts_at"),
            postgresql_partition_by="RANGE (starts_at)",
        )
    latencies = (f"latency_p{p}_{what}" for p in _PERCENTILES for what in ("seconds", "weight"))
    sums = ["up", "requests", "errors", *latencies]
    for name in ("workload_minutes", "workload_hours"):
        op.create_table(
            name,
            sa.Column("workload_id", sa.Uuid, nullable=False),
            _moment("starts_at"),
            _integer("samples"),
            _moment("newest_at"),
            _integer("up_samples"),
            *(_double(column, nullable=False) for column in sums),
            sa.PrimaryKeyConstraint("workload_id", "starts_at"),
            postgresql_partition_by="RANGE (starts_at)",
        )


def _create_others() -> None:
    keys = ("rollup", "starts_at", "cluster", "subject")
    op.create_table(
        "pending_rollups",
        *map(_text, ("rollup", "cluster", "subject")),
        _moment("starts_at"),
        _now("noted_at"),
    )
    op.create_index(f"ix_pending_rollups_{'_'.join(keys)}", "pending_rollups", list(keys))
    op.create_table(
        "agents",
        *map(_text, ("cluster", "node", "state")),
        _text("driver", nullable=True),
        _moment("observed_at", nullable=True),
        _moment("previous_at", nullable=True),
        *(
            sa.Column(name, postgresql.ARRAY(kind), nullable=False, server_default=sa.text("'{}'"))
            for name, kind in (("pods", sa.Text), ("workloads", sa.Uuid))
        ),
        sa.Column("readings", sa.Integer, nullable=False, server_default=sa.text("1")),
        *map(_now, ("contacted_at", "created_at", "updated_at")),
        sa.PrimaryKeyConstraint("cluster", "node"),
    )
    op.execute(
        "ALTER TABLE agents SET (fillfactor = 50)"
    )  # so that an update, which touches no index, stays in its page
    op.create_table(
        "dropped_samples",
        *map(_text, ("kind", "subject", "reason")),
        sa.Column("samples", sa.BigInteger, nullable=False),
        *map(_now, ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("kind", "subject", "reason"),
    )
    op.create_index("ix_dropped_samples_updated_at", "dropped_samples", ["updated_at"])


def _move_reports() -> None:
    latencies = ", ".join(f"latency_p{p}_{what}" for p in _PERCENTILES for what in ("seconds", "weight"))
    op.execute(_REPORTED)
    for table, unit, age, until in (
        ("workload_hours", "hour", "400 days", "date_trunc('hour', now(), 'UTC') - interval '1 microsecond'"),
        ("workload_minutes", "minute", "30 days", "now()"),
    ):
        op.execute(_MAKE_FOR_REPORTED.format(table=table, age=age))
        told = {"table": table, "unit": unit, "age": age, "until": until}
        op.execute(_ROLL_UP.format(**told, latencies=latencies, weights=_WEIGHTS))
    op.execute(
        "SELECT make_partition('workload_samples', day) FROM generate_series(now() - interval '3 days',"
        " now() + interval '1 day', interval '1 day') AS day"
    )
    op.execute(_MOVE)


def downgrade() -> None:
    for table in (*_PARTITIONED, "pending_rollups", "agents", "dropped_samples"):
        op.drop_table(table)
    for noted in _NOTED:
        op.execute(f"DROP FUNCTION note_{noted['table']}()")
    op.execute("DROP FUNCTION make_partition(text, timestamptz)")
    op.execute("DROP FUNCTION drop_partitions(text, timestamptz)")
    op.execute("DROP SCHEMA partitions")
    op.create_table(
        "telemetry",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        *map(_text, ("kind", "subject")),
        _moment("observed_at"),
        sa.Column("sample", postgresql.JSONB, nullable=False),
        *map(_now, ("created_at", "updated_at")),
    )
    op.create_index("ix_telemetry_subject_created_at", "telemetry", ["subject", "created_at"])
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON telemetry TO sentinel_app")
