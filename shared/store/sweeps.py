"""Where the sweep of each cluster goes on, and the orphans that sweeps found."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.deployment import ObjectReference
from shared.models.sweep import SWEPT_KINDS, Key, Orphan, SweepCursor
from shared.store.revisions import may_be_present
from shared.store.rows import one_of
from shared.store.tables import clusters, deployments, orphans, sweeps

_IS_FREE = sa.or_(sweeps.c.reading_until.is_(None), sweeps.c.reading_until <= sa.func.clock_timestamp())
_DUE = (
    sa.select(sweeps.c.cluster)
    .join(clusters, clusters.c.name == sweeps.c.cluster)
    .where(sweeps.c.next_page_at <= sa.bindparam("now"), _IS_FREE, clusters.c.away_until.is_(None))
    .order_by(sweeps.c.next_page_at, sweeps.c.cluster)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(of=sweeps, skip_locked=True)
)
_TAKE_DUE = (
    sweeps.update()
    .where(one_of(sweeps.c.cluster, _DUE))
    .values(next_page_at=sa.bindparam("until"))
    .returning(sweeps.c.cluster, sweeps.c.page)
)


@dataclass(frozen=True)
class SweepRows:
    """Sweeps and orphans, inside one transaction."""

    connection: sa.Connection

    def take_due(self, now: datetime, until: datetime, limit: int) -> list[tuple[str, int]]:
        """The sweeps whose next page is to be read, by cluster, each with its number. Not due again before `until`.

        A page that somebody reads right now is not due, and nothing is on a cluster that is away.
        """
        rows = self.connection.execute(_TAKE_DUE, {"now": now, "until": until, "most": limit})
        return sorted((row.cluster, row.page) for row in rows)

    def start_reading(self, cluster: str, page: int, now: datetime, length: timedelta) -> SweepCursor | None:
        """Claims a page for one reader; None when it was read already, or is being read."""
        columns = sweeps.c
        first = sa.and_(
            columns.kind == SWEPT_KINDS[0], columns.namespace == "", columns.token == "", columns.after_name == ""
        )
        claimed = (
            sweeps.update()
            .where(columns.cluster == cluster, columns.page == page, _IS_FREE)
            .values(
                reading_until=sa.func.clock_timestamp() + length,
                started_at=sa.case((sa.or_(first, columns.started_at.is_(None)), now), else_=columns.started_at),
            )
            .returning(sweeps)
        )
        row = self.connection.execute(claimed).one_or_none()
        return None if row is None else _cursor(row)

    def hold(self, cursor: SweepCursor) -> bool:
        """Locks the row of a page that was read; False when another reader was faster, after a lapsed claim."""
        statement = sa.select(sweeps.c.page).where(sweeps.c.cluster == cursor.cluster).with_for_update()
        return self.connection.execute(statement).scalar_one_or_none() == cursor.page

    def move(self, cursor: SweepCursor, next_page_at: datetime) -> None:
        """Lets a sweep go on at this page, from that moment on."""
        values = {
            "page": cursor.page,
            "kind": cursor.kind,
            "namespace": cursor.namespace,
            "token": cursor.token,
            "after_namespace": cursor.after[0],
            "after_name": cursor.after[1],
        }
        self.connection.execute(
            sweeps.update()
            .where(sweeps.c.cluster == cursor.cluster)
            .values(**values, reading_until=None, next_page_at=next_page_at, updated_at=sa.func.now())
        )

    def next_namespace(self, cluster: str, kind: str, after: str) -> str | None:
        """The namespace after another in which objects of this kind may be on a cluster."""
        columns = deployments.c
        statement = sa.select(sa.func.min(columns.namespace)).where(
            columns.cluster == cluster, columns.kind == kind, columns.namespace > after, may_be_present()
        )
        found: str | None = self.connection.execute(statement).scalar_one()
        return found

    def later(self, one: Key, other: Key) -> Key:
        """The one of two keys that comes later in the database's order, which may not be the API server's."""
        statement = sa.select(sa.tuple_(*map(sa.literal, one)) >= sa.tuple_(*map(sa.literal, other)))
        return one if self.connection.execute(statement).scalar_one() else other

    def keep_orphans(self, found: Sequence[Orphan], now: datetime) -> None:
        """Writes down objects that no workload owns, or that they were seen again."""
        for one in found:
            reference = one.reference
            values: dict[str, Any] = {"uid": reference.uid or "", "instance": one.instance, "revision": one.revision}
            statement = insert(orphans).values(
                cluster=one.cluster,
                kind=reference.kind,
                namespace=reference.namespace,
                name=reference.name,
                seen_at=now,
                **values,
            )
            # Another object of the same name is another orphan, and nobody has asked for its removal.
            requested = sa.case((orphans.c.uid == values["uid"], orphans.c.requested_by), else_="")
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["cluster", "kind", "namespace", "name"],
                    set_={**values, "seen_at": now, "requested_by": requested, "updated_at": sa.func.now()},
                )
            )

    def forget_unseen(self, cluster: str, kind: str, before: datetime) -> None:
        """Forgets the orphans of a kind that a whole sweep has not seen."""
        columns = orphans.c
        self.connection.execute(
            orphans.delete().where(columns.cluster == cluster, columns.kind == kind, columns.seen_at < before)
        )

    def orphans(self, cluster: str | None = None, *, requested: bool = False, limit: int) -> list[Orphan]:
        """Orphans by cluster, kind, namespace and name. requested: only those whose removal somebody asked for."""
        columns = orphans.c
        statement = sa.select(orphans).order_by(columns.cluster, columns.kind, columns.namespace, columns.name)
        if cluster is not None:
            statement = statement.where(columns.cluster == cluster)
        if requested:
            statement = statement.where(columns.requested_by != "")
        return list(map(_orphan, self.connection.execute(statement.limit(limit))))

    def request_removal(self, orphan_ids: Collection[uuid.UUID], requested_by: str) -> None:
        """Lets the next sweep delete these orphans."""
        statement = orphans.update().where(orphans.c.id.in_(orphan_ids))
        self.connection.execute(statement.values(requested_by=requested_by, updated_at=sa.func.now()))

    def forget_orphans(self, orphan_ids: Collection[uuid.UUID]) -> None:
        """They were deleted, or a workload owns them now."""
        self.connection.execute(orphans.delete().where(orphans.c.id.in_(orphan_ids)))

    def make_due(self, cluster: str, now: datetime) -> None:
        """Lets the sweep of a cluster go on with the next tick."""
        statement = sweeps.update().where(sweeps.c.cluster == cluster, sweeps.c.next_page_at > now)
        self.connection.execute(statement.values(next_page_at=now))


def _cursor(row: sa.Row[Any]) -> SweepCursor:
    after = (row.after_namespace, row.after_name)
    return SweepCursor(row.cluster, row.page, row.kind, row.namespace, row.token, after, row.started_at)


def _orphan(row: sa.Row[Any]) -> Orphan:
    return Orphan(
        id=row.id,
        cluster=row.cluster,
        reference=ObjectReference(row.kind, row.namespace, row.name, row.uid),
        instance=row.instance,
        revision=row.revision,
        found_at=row.created_at,
        requested_by=row.requested_by,
    )
