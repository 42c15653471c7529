"""What is collected from Prometheus: which collections there are, whose turn it is, and how far each has come."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection as Sized
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from shared.models.collection import Collection, CollectionResult, DueCollection
from shared.models.lifecycle import OBSERVED_REVISIONS
from shared.store.rows import Row
from shared.store.tables import NAMES_METRICS, deployments, metric_collections
from shared.telemetry.collection import Key


@dataclass(frozen=True)
class CollectionRows:
    """Collections, inside one transaction."""

    connection: sa.Connection

    def add_missing(self, sources: Iterable[str], now: datetime, first_look: datetime) -> None:
        """Adds the sources, due now, and the workloads with PromQL of their own, due at their first look.

        A workload whose generation is another is due at that moment too.
        """
        rows = [{"subject": source, "due_at": now} for source in sources]
        self.connection.execute(insert(metric_collections).values(rows).on_conflict_do_nothing())
        self.connection.execute(_ADD_WORKLOADS, {"now": now, "first_look": first_look})

    def take_due(self, now: datetime, length: timedelta, most: int) -> list[DueCollection]:
        """Announces what is due, sources first, then longest ago first; at most so many workloads at any time.

        Whoever comes with the number may collect it. Nobody else is told of it before `length` has passed.
        """
        rows = self.connection.execute(_TAKE_DUE, {"now": now, "length": length, "most": most})
        return sorted(
            (DueCollection(row.subject, row.number, row.workload_id) for row in rows),
            key=lambda one: (one.workload_id is not None, one.subject),
        )

    def claim(self, announced: Mapping[str, int], length: timedelta) -> list[Collection]:
        """Claims what was announced; what somebody else has claimed since is left out."""
        values = {"subjects": list(announced), "numbers": list(announced.values()), "length": length}
        return sorted(map(_collection, self.connection.execute(_CLAIM, values)), key=lambda one: one.subject)

    def hold(self, collections: Sequence[Collection]) -> set[str]:
        """Locks the rows of claims; those that lapsed, and were claimed by somebody else, are left out."""
        values = {"subjects": [one.subject for one in collections], "numbers": [one.number for one in collections]}
        return set(self.connection.execute(_HOLD, values).scalars())

    def finish(self, results: Sequence[CollectionResult], now: datetime) -> None:
        """Writes down what became of collections whose rows are held."""
        rows = [
            {
                "subject": one.subject,
                "due_at": one.due_at.isoformat(),
                "until": one.until and one.until.isoformat(),
                "found_at": one.found_at and one.found_at.isoformat(),
                "workloads": one.workloads,
                "failures": one.failures,
                "failure": one.failure,
            }
            for one in results
        ]
        self.connection.execute(_FINISH, {"rows": json.dumps(rows), "now": now})

    def remove(self, subjects: Sized[str]) -> None:
        """Collects these no more."""
        self.connection.execute(metric_collections.delete().where(metric_collections.c.subject.in_(subjects)))

    def workloads_named(self, keys: Sized[Key]) -> dict[Key, uuid.UUID]:
        """The workloads that run as objects with these namespaces and names, and name no PromQL of their own.

        A name that several workloads have, on several clusters, is nobody's: Prometheus may see any of the clusters.
        """
        ordered = sorted(keys)
        values = {"namespaces": [key[0] for key in ordered], "names": [key[1] for key in ordered]}
        found: dict[Key, set[uuid.UUID]] = {}
        own: set[uuid.UUID] = set()
        for row in self.connection.execute(_NAMED, values):
            found.setdefault((row.namespace, row.name), set()).add(row.workload_id)
            if row.names_metrics:
                own.add(row.workload_id)
        return {key: next(iter(ids)) for key, ids in found.items() if len(ids) == 1 and not ids & own}


def _collection(row: Row) -> Collection:
    return Collection(row.subject, row.workload_id, row.number, row.until, row.found_at, row.workloads, row.failures)


_TEXTS = ARRAY(sa.Text)
_ADD_WORKLOADS = sa.text(f"""
    INSERT INTO metric_collections (subject, workload_id, generation, due_at, until)
    SELECT CAST(workload.id AS text), workload.id, workload.generation, :first_look,
           date_trunc('minute', CAST(:now AS timestamptz))
      FROM workloads AS workload
      LEFT JOIN metric_collections AS earlier ON earlier.subject = CAST(workload.id AS text)
     WHERE {NAMES_METRICS} AND revision > 0 AND earlier.generation IS DISTINCT FROM workload.generation
    ON CONFLICT (subject) DO UPDATE
       SET generation = excluded.generation, due_at = excluded.due_at, failures = 0, updated_at = now()
""")  # noqa: S608 - constants
# A source that had nothing is looked at again some minutes after a workload came, and not only in an hour.
_TAKE_DUE = sa.text("""
    WITH due AS MATERIALIZED (
        SELECT subject FROM metric_collections
         WHERE (reading_until IS NULL OR reading_until <= clock_timestamp())
           AND (due_at <= :now
                OR workload_id IS NULL AND asked_at <= CAST(:now AS timestamptz) - interval '10 minutes'
                   AND asked_at <= (SELECT max(created_at) FROM workloads) + interval '5 minutes')
         ORDER BY workload_id IS NOT NULL, due_at, subject
         LIMIT greatest(0, :most - (SELECT count(*) FROM metric_collections
                                     WHERE workload_id IS NOT NULL AND reading_until > clock_timestamp()))
               + (SELECT count(*) FROM metric_collections WHERE workload_id IS NULL)
         FOR UPDATE SKIP LOCKED
    )
    UPDATE metric_collections AS known
       SET number = number + 1, reading_until = clock_timestamp() + CAST(:length AS interval)
      FROM due WHERE known.subject = due.subject
    RETURNING known.subject, known.number, known.workload_id
""")
_GIVEN = """unnest(CAST(:subjects AS text[]), CAST(:numbers AS bigint[])) AS given(subject, number)"""
_CLAIM = sa.text(f"""
    UPDATE metric_collections AS known
       SET number = known.number + 1, reading_until = clock_timestamp() + CAST(:length AS interval)
      FROM {_GIVEN} WHERE known.subject = given.subject AND known.number = given.number
    RETURNING known.*
""").columns(*metric_collections.c)  # noqa: S608 - constants
_HOLD = sa.text(f"""
    SELECT known.subject FROM metric_collections AS known JOIN {_GIVEN}
        ON known.subject = given.subject AND known.number = given.number
     ORDER BY known.subject FOR UPDATE OF known
""")  # noqa: S608 - constants
_FINISH = sa.text("""
    UPDATE metric_collections AS known
       SET due_at = done.due_at, until = done.until, found_at = done.found_at, workloads = done.workloads,
           failures = done.failures, failure = done.failure, asked_at = :now, reading_until = NULL, updated_at = now()
      FROM json_populate_recordset(CAST(NULL AS metric_collections), CAST(:rows AS json)) AS done
     WHERE known.subject = done.subject
""")


def _named() -> sa.TextClause:
    statuses = ", ".join(f"'{status.value}'" for status in OBSERVED_REVISIONS)
    return sa.text(f"""
        SELECT DISTINCT own.namespace, own.name, own.workload_id, {NAMES_METRICS} AS names_metrics
          FROM unnest(CAST(:namespaces AS text[]), CAST(:names AS text[])) AS wanted(namespace, name)
          JOIN {deployments.name} AS own ON own.namespace = wanted.namespace AND own.name = wanted.name
          JOIN workloads AS workload ON workload.id = own.workload_id
         WHERE own.status IN ({statuses}) AND own.kind <> 'Job'
    """)  # noqa: S608 - constants


_NAMED = _named()
