"""Nodes of clusters: which take no new pods, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from shared.models.node import Node, NodeFilter
from shared.models.page import Page, PageRequest
from shared.models.telemetry import NodeState
from shared.store import pages
from shared.store.faults import open_faults
from shared.store.tables import EXCLUDED, nodes
from shared.store.telemetry_tables import agents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.store.rows import Row

SORTS = {"name": (nodes.c.cluster, nodes.c.name)}
# The text of the index ix_nodes_excluded, so that it serves the query.
_IS_EXCLUDED = sa.text(f"({EXCLUDED})")
_TAKES_PODS = sa.text(f"NOT ({EXCLUDED})")


def excluded_gpus_of(cluster: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """The excluded nodes of a cluster, each with its GPUs by SKU, as one value; NULL when there are none."""
    gpus = sa.func.coalesce(nodes.c.gpus, sa.literal_column("'{}'::jsonb"))
    each = sa.select(sa.func.jsonb_object_agg(nodes.c.name, gpus, type_=JSONB))
    return each.where(nodes.c.cluster == cluster, _IS_EXCLUDED).scalar_subquery().label("excluded")


def total(excluded: Mapping[str, Mapping[str, int]] | None) -> dict[str, int]:
    """The GPUs of all these nodes by SKU; excluded: what `excluded_gpus_of` selects."""
    found: dict[str, int] = {}
    for gpus in (excluded or {}).values():
        for sku, count in gpus.items():
            found[sku] = found.get(sku, 0) + count
    return found


@dataclass(frozen=True)
class NodeRows:
    """Nodes, inside one transaction. A node that nobody has spoken of has no row."""

    connection: sa.Connection

    def get(self, cluster: str, name: str, *, lock: bool = False) -> Node | None:
        """A node. lock: nobody else changes it until this transaction ends."""
        row = self.connection.execute(
            _GET.with_for_update(of=nodes) if lock else _GET, {"cluster": cluster, "name": name}
        ).one_or_none()
        return None if row is None else self._with_faults([_node(row)])[0]

    def page(self, wanted: NodeFilter, request: PageRequest) -> Page[Node]:
        """A page of the nodes, by cluster and name."""
        statement = _WITH_AGENTS
        if wanted.cluster is not None:
            statement = statement.where(nodes.c.cluster == wanted.cluster)
        if wanted.name is not None:
            statement = statement.where(nodes.c.name == wanted.name)
        if wanted.excluded is not None:
            statement = statement.where(_IS_EXCLUDED if wanted.excluded else _TAKES_PODS)
        found = pages.fetch(self.connection, statement, SORTS, request, _node)
        return Page(self._with_faults(found.items), found.next)

    def keep(self, cluster: str, gpus: Mapping[str, Mapping[str, int]]) -> None:
        """Remembers the nodes with GPUs that a cluster shows, each with its GPUs by SKU.

        Those that it does not show any more are forgotten, unless they are excluded: they may come back.
        """
        self.connection.execute(_FORGET, {"cluster": cluster, "names": list(gpus)})
        if gpus:
            shown = {name: dict(one) for name, one in gpus.items()}
            self.connection.execute(_KEEP, {"cluster": cluster, "shown": shown})

    def fleet_size(self, cluster: str) -> int:
        """How many nodes with GPUs a cluster has shown, or agents have reported on."""
        return self.connection.execute(_FLEET_SIZE, {"cluster": cluster}).scalar_one()

    def exclude(self, cluster: str, name: str, operator: str, reason: str, now: datetime) -> None:
        """An operator excludes a node."""
        self._write(cluster, name, excluded_at=now, excluded_by=operator, reason=reason)

    def clear(self, cluster: str, name: str) -> None:
        """An operator readmits a node, whatever had excluded it."""
        operator = {"excluded_at": None, "excluded_by": "", "reason": ""}
        self._write(cluster, name, **operator, faulty_since=None, proven_at=None)

    def mark_faulty(self, cluster: str, name: str, now: datetime) -> bool:
        """A fault of its hardware excludes a node; False when one does already."""
        values = {"cluster": cluster, "name": name, "now": now}
        return bool(self.connection.execute(_MARK_FAULTY, values).scalar_one())

    def start_proving(self, cluster: str, name: str, until: datetime) -> None:
        """The last fault of a node is over; its exclusion by faults ends then, unless there is another."""
        faulty = nodes.update().where(
            nodes.c.cluster == cluster, nodes.c.name == name, nodes.c.faulty_since.is_not(None)
        )
        self.connection.execute(faulty.values(proven_at=until))

    def take_proven(self, now: datetime, limit: int) -> list[Node]:
        """Ends the exclusion by faults of nodes that have been quiet for long enough.

        Nodes that another transaction works on are left for later.
        """
        found = [_node(row) for row in self.connection.execute(_PROVEN, {"now": now, "most": limit})]
        if found:
            which = sa.tuple_(nodes.c.cluster, nodes.c.name).in_([(one.cluster, one.name) for one in found])
            ended = nodes.update().where(which).values(faulty_since=None, proven_at=None, updated_at=sa.func.now())
            self.connection.execute(ended)
        return found

    def _write(self, cluster: str, name: str, **values: Any) -> None:
        statement = insert(nodes).values(cluster=cluster, name=name, **values)
        changed = {**values, "updated_at": sa.func.now()}
        self.connection.execute(statement.on_conflict_do_update(index_elements=["cluster", "name"], set_=changed))

    def _with_faults(self, found: Sequence[Node]) -> list[Node]:
        faults = open_faults(self.connection, [(one.cluster, one.name) for one in found])
        return [replace(one, faults=faults.get((one.cluster, one.name), ())) for one in found]


def _node(row: Row) -> Node:
    return Node(
        row.cluster,
        row.name,
        row.gpus,
        row.excluded_at,
        row.excluded_by,
        row.reason,
        row.faulty_since,
        row.proven_at,
        row.contacted_at,
    )


_NAMES = sa.bindparam("names", type_=ARRAY(sa.Text))
_SHOWN: sa.BindParameter[Any] = sa.bindparam("shown", type_=JSONB)
_ITS_AGENT = sa.and_(agents.c.cluster == nodes.c.cluster, agents.c.node == nodes.c.name)
_WITH_AGENTS = sa.select(nodes, agents.c.contacted_at).outerjoin_from(nodes, agents, _ITS_AGENT)
_GET = _WITH_AGENTS.where(nodes.c.cluster == sa.bindparam("cluster"), nodes.c.name == sa.bindparam("name"))
_FLEET = sa.union(
    sa.select(nodes.c.name).where(nodes.c.cluster == sa.bindparam("cluster"), nodes.c.gpus.is_not(None)),
    sa.select(agents.c.node).where(agents.c.cluster == sa.bindparam("cluster"), agents.c.state != NodeState.NO_GPU),
)
_FLEET_SIZE = sa.select(sa.func.count()).select_from(_FLEET.subquery())
_FORGET = nodes.delete().where(
    nodes.c.cluster == sa.bindparam("cluster"),
    nodes.c.name != sa.all_(_NAMES),
    nodes.c.excluded_at.is_(None),
    nodes.c.faulty_since.is_(None),
)


def _keep() -> sa.Executable:
    each = sa.func.jsonb_each(_SHOWN).table_valued("name", sa.column("gpus", JSONB), name="each").render_derived()
    rows = sa.select(sa.bindparam("cluster", type_=sa.Text), each.c.name, each.c.gpus).order_by(each.c.name)
    statement = insert(nodes).from_select(["cluster", "name", "gpus"], rows)
    kept = {"gpus": statement.excluded.gpus, "updated_at": sa.func.now()}
    return statement.on_conflict_do_update(
        index_elements=["cluster", "name"], set_=kept, where=nodes.c.gpus.is_distinct_from(statement.excluded.gpus)
    )


def _mark_faulty() -> sa.Executable:
    """One row: whether no fault has excluded the node before."""
    now = sa.bindparam("now", type_=sa.DateTime(timezone=True))
    values = {"cluster": sa.bindparam("cluster"), "name": sa.bindparam("name"), "faulty_since": now}
    statement = insert(nodes).values(**values)
    since = sa.func.coalesce(nodes.c.faulty_since, now)
    changed = {"faulty_since": since, "proven_at": None, "updated_at": sa.func.now()}
    return statement.on_conflict_do_update(index_elements=["cluster", "name"], set_=changed).returning(
        nodes.c.faulty_since == now
    )


_KEEP, _MARK_FAULTY = _keep(), _mark_faulty()
_PROVEN = (
    sa.select(nodes, sa.null().label("contacted_at"))
    .where(nodes.c.proven_at <= sa.bindparam("now", type_=sa.DateTime(timezone=True)))
    .order_by(nodes.c.proven_at, nodes.c.cluster, nodes.c.name)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
