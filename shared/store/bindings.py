"""Source bindings and namespace bindings. Every change makes a new revision of all of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.models.bindings import Bindings, NamespaceBinding, SourceAction, SourceBinding
from shared.store import pages
from shared.store.tables import binding_set, namespace_bindings, source_bindings

if TYPE_CHECKING:
    from shared.models.page import Page, PageRequest
    from shared.store.rows import Row

_ONLY_ROW = 1
_REVISION = sa.select(binding_set.c.revision)


@dataclass(frozen=True)
class BindingRows:
    """Bindings, inside one transaction."""

    connection: sa.Connection

    def revision(self) -> uuid.UUID | None:
        """The revision of all bindings; None before the first."""
        return self.connection.execute(_REVISION).scalar_one_or_none()

    def all(self) -> Bindings:
        """Every binding, by name."""
        sources = self.connection.execute(sa.select(source_bindings).order_by(source_bindings.c.name))
        namespaces = self.connection.execute(sa.select(namespace_bindings).order_by(namespace_bindings.c.team))
        return Bindings(tuple(map(_source, sources)), tuple(map(_namespaces, namespaces)))

    def page_of_sources(self, request: PageRequest) -> Page[SourceBinding]:
        """A page of the source bindings. Sorts: name."""
        sorts = {"name": [source_bindings.c.name]}
        return pages.fetch(self.connection, sa.select(source_bindings), sorts, request, _source)

    def page_of_namespaces(self, request: PageRequest) -> Page[NamespaceBinding]:
        """A page of the namespace bindings. Sorts: team."""
        sorts = {"team": [namespace_bindings.c.team]}
        return pages.fetch(self.connection, sa.select(namespace_bindings), sorts, request, _namespaces)

    def put_source(self, binding: SourceBinding) -> None:
        """Adds a source binding, or replaces the one of its name."""
        values = {
            "source": binding.source,
            "teams": list(binding.teams),
            "namespaces": list(binding.namespaces),
            "actions": [action.value for action in binding.actions],
        }
        statement = insert(source_bindings).values(name=binding.name, **values)
        self.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

    def delete_source(self, name: str) -> None:
        """Deletes a source binding."""
        self.connection.execute(source_bindings.delete().where(source_bindings.c.name == name))

    def put_namespaces(self, binding: NamespaceBinding) -> None:
        """Binds namespaces to a team, in place of those that were bound."""
        values = {"namespaces": list(binding.namespaces)}
        statement = insert(namespace_bindings).values(team=binding.team, **values)
        self.connection.execute(statement.on_conflict_do_update(index_elements=["team"], set_=values))

    def delete_namespaces(self, team: str) -> None:
        """Leaves a team the namespace that is named like it."""
        self.connection.execute(namespace_bindings.delete().where(namespace_bindings.c.team == team))

    def lock(self) -> Bindings:
        """Every binding; nobody else changes one until this transaction ends."""
        values = {"revision": sa.func.gen_random_uuid()}
        statement = insert(binding_set).values(id=_ONLY_ROW, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": sa.func.now()})
        )
        return self.all()


def _source(row: Row) -> SourceBinding:
    actions = tuple(SourceAction(action) for action in row.actions)
    return SourceBinding(row.name, row.source, tuple(row.teams), tuple(row.namespaces), actions)


def _namespaces(row: Row) -> NamespaceBinding:
    return NamespaceBinding(row.team, tuple(row.namespaces))
