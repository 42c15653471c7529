"""Objects on clusters, and the revisions that they may stand for."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import OBSERVED_REVISIONS
from shared.models.sweep import Key, ListedRange
from shared.rollout.pod_names import owner_among, owners_of
from shared.store.revisions import REACHABLE, SUSPECTABLE, may_be_present, read_revisions
from shared.store.tables import deployments

_NAME = (deployments.c.kind, deployments.c.namespace, deployments.c.name)
_NEWEST = sa.func.max(deployments.c.revision)
_PRESENT = sa.func.bool_or(may_be_present())
_UIDS = sa.func.array_agg(aggregate_order_by(deployments.c.uid, deployments.c.revision.desc()))
_OBJECTS = (
    sa.select(
        *_NAME,
        _NEWEST.label("revision"),
        _PRESENT.label("present"),
        _UIDS.filter(deployments.c.uid.is_not(None))[1].label("uid"),
    )
    .where(deployments.c.workload_id == sa.bindparam("workload"), deployments.c.cluster == sa.bindparam("cluster"))
    .group_by(*_NAME)
    .order_by(_PRESENT.desc(), _NEWEST)
)
_LIVE_OBJECT = (
    sa.select(deployments)
    .where(
        deployments.c.namespace == sa.bindparam("in_namespace"),
        deployments.c.name == sa.bindparam("of_name"),
        deployments.c.kind == sa.bindparam("of_kind"),
        deployments.c.status.in_(OBSERVED_REVISIONS),
        REACHABLE,
    )
    .order_by(deployments.c.id)
)
_TEXTS = ARRAY(sa.Text)


def _named(*, beginnings: bool) -> sa.Select[Any]:
    """The workloads whose objects have names of a list, or names that begin so; the newest revisions come last."""
    listed = sa.func.unnest(*(sa.bindparam(name, type_=_TEXTS) for name in ("kinds", "namespaces", "names")))
    wanted = listed.table_valued("kind", "namespace", "name", name="wanted").render_derived()
    own = deployments.c
    named = sa.func.starts_with(own.name, wanted.c.name) if beginnings else own.name == wanted.c.name
    return (
        sa.select(own.kind, own.namespace, own.name, own.workload_id)
        .join(wanted, sa.and_(own.kind == wanted.c.kind, own.namespace == wanted.c.namespace, named))
        .where(own.cluster == sa.bindparam("cluster"), may_be_present())
        .order_by(own.revision)
    )


_BY_NAMES, _BY_BEGINNINGS = _named(beginnings=False), _named(beginnings=True)


@dataclass(frozen=True)
class WorkloadObject:
    """An object that a workload had. revision: the newest that stood for it. reference.uid: the last that is known."""

    reference: ObjectReference
    revision: int
    may_be_present: bool


@dataclass(frozen=True)
class ObjectRows:
    """The objects that revisions stand for, inside one transaction."""

    connection: sa.Connection

    def of_workload(self, workload_id: uuid.UUID, cluster: str) -> list[WorkloadObject]:
        """Every object that a workload ever had on a cluster, those first that may be there."""
        rows = self.connection.execute(_OBJECTS, {"workload": workload_id, "cluster": cluster})
        return [
            WorkloadObject(ObjectReference(row.kind, row.namespace, row.name, row.uid), row.revision, row.present)
            for row in rows
        ]

    def live_revisions(self, kind: str, namespace: str, name: str) -> list[Deployment]:
        """The revisions that an object of this name may stand for, on any cluster that answers."""
        wanted = {"of_kind": kind, "in_namespace": namespace, "of_name": name}
        return list(read_revisions(self.connection.execute(_LIVE_OBJECT, wanted)))

    def expected_revisions(self, cluster: str, kind: str, keys: Sequence[Key]) -> list[Deployment]:
        """The revisions that objects with these names may stand for, by their numbers."""
        names = sa.func.unnest(sa.cast([key[0] for key in keys], _TEXTS), sa.cast([key[1] for key in keys], _TEXTS))
        listed = names.table_valued("namespace", "name", name="listed").render_derived()
        columns = deployments.c
        rows = self.connection.execute(
            sa.select(deployments)
            .join(listed, sa.and_(columns.namespace == listed.c.namespace, columns.name == listed.c.name))
            .where(columns.cluster == cluster, columns.kind == kind, may_be_present())
            .order_by(columns.revision)
        )
        return list(read_revisions(rows))

    def workloads_of_pods(self, cluster: str, pods: Collection[Key]) -> dict[Key, uuid.UUID]:
        """The workloads that pods of a cluster, each by namespace and name, belong to; others are absent.

        Their objects may be there, running or not. See shared.rollout.pod_names.
        """
        wanted = {(pod[0], owner) for pod in pods for owner in owners_of(pod[1])}
        exact = sorted((owner.kind, namespace, owner.name) for namespace, owner in wanted if not owner.begins)
        cut = sorted((owner.kind, namespace, owner.name) for namespace, owner in wanted if owner.begins)
        objects: dict[str, dict[tuple[str, str], uuid.UUID]] = {}
        for statement, keys in ((_BY_NAMES, exact), (_BY_BEGINNINGS, cut)):
            if keys:
                kinds, namespaces, names = map(list, zip(*keys, strict=True))
                values = {"cluster": cluster, "kinds": kinds, "namespaces": namespaces, "names": names}
                for row in self.connection.execute(statement, values):
                    objects.setdefault(row.namespace, {})[row.kind, row.name] = row.workload_id
        found = {pod: owner_among(pod[1], objects.get(pod[0], ())) for pod in pods}
        return {pod: objects[pod[0]][owner] for pod, owner in found.items() if owner is not None}

    def touched_since(self, workload_ids: Collection[uuid.UUID], since: datetime) -> set[Key]:
        """The names of these workloads' objects whose revisions have changed since then, whatever they are now."""
        columns = deployments.c
        statement = sa.select(columns.namespace, columns.name).where(
            columns.workload_id.in_(workload_ids), columns.updated_at >= since
        )
        return {(row.namespace, row.name) for row in self.connection.execute(statement)}

    def missing(self, listed: ListedRange, limit: int) -> dict[uuid.UUID, Key]:
        """The revisions whose objects should be in a range of a list and are not, with the names of the objects.

        At most `limit`, in the order of the range; those that are suspected already are left out.
        """
        columns = deployments.c
        key = sa.tuple_(columns.namespace, columns.name)
        within = [key > sa.tuple_(*listed.after)]
        if listed.until is not None:
            within.append(key <= sa.tuple_(*listed.until))
        if listed.namespace:
            within.append(columns.namespace == listed.namespace)
        there = sa.func.unnest(
            sa.cast([one[0] for one in listed.keys], _TEXTS), sa.cast([one[1] for one in listed.keys], _TEXTS)
        )
        seen = there.table_valued("namespace", "name", name="listed").render_derived()
        absent = ~sa.exists().where(columns.namespace == seen.c.namespace, columns.name == seen.c.name)
        before = sa.or_(columns.applied_at.is_(None), columns.applied_at < listed.at)
        statement = (
            sa.select(columns.id, columns.namespace, columns.name)
            .where(columns.cluster == listed.cluster, columns.kind == listed.kind, may_be_present())
            .where(*SUSPECTABLE, *within, absent, before)
            .order_by(columns.namespace, columns.name, columns.revision)
            .limit(limit)
        )
        return {row.id: (row.namespace, row.name) for row in self.connection.execute(statement)}
