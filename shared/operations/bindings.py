"""Bind event sources to teams, and namespaces to teams; and hold what is asked for against it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from shared.errors import NotBound, NotFound, OperationRefused
from shared.models.account import NAME, NAME_RULE
from shared.models.bindings import (
    ALLOW_ALL,
    Bindings,
    NamespaceBinding,
    SourceAction,
    SourceBinding,
    bad_labels,
    bad_source,
    is_forbidden,
)
from shared.models.changes import changes

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.page import Page, PageRequest
    from shared.models.workload import WorkloadSpec
    from shared.store.unit_of_work import UnitOfWork


class BindingCache:
    """The bindings of the newest revision that this process has seen. A change counts in the next transaction."""

    def __init__(self) -> None:
        self._known: tuple[uuid.UUID | None, Bindings] | None = None

    def current(self, work: UnitOfWork) -> Bindings:
        """The bindings as the transaction sees them; only their revision is read when they have not changed."""
        revision = work.bindings.revision()
        known = self._known  # another thread may put another revision there meanwhile
        if known is None or known[0] != revision:
            self._known = known = (revision, work.bindings.all() if revision else Bindings())
        return known[1]


def check_source(bindings: Bindings, source: str, action: SourceAction, team: str, namespace: str) -> None:
    """Raises NotBound for an event whose source is not bound to what it asks for."""
    if (reason := bindings.refuse_source(source, action, team, namespace)) is not None:
        raise NotBound("source", reason)


def check_namespace(bindings: Bindings, spec: WorkloadSpec) -> None:
    """Raises OperationRefused for a workload in a namespace that is not its team's."""
    if (reason := bindings.refuse_namespace(spec.team, spec.namespace)) is not None:
        raise OperationRefused("namespace", reason)


def list_sources(work: UnitOfWork, request: PageRequest) -> Page[SourceBinding]:
    """A page of the source bindings, by name."""
    return work.bindings.page_of_sources(request)


def list_namespaces(work: UnitOfWork, request: PageRequest) -> Page[NamespaceBinding]:
    """A page of the namespace bindings, by team."""
    return work.bindings.page_of_namespaces(request)


def find_source(work: UnitOfWork, name: str, *, lock: bool = False) -> SourceBinding | None:
    """The source binding of a name. lock: nobody else changes a binding until the transaction ends."""
    known = work.bindings.lock() if lock else work.bindings.all()
    return next((one for one in known.sources if one.name == name), None)


def get_source(work: UnitOfWork, name: str, *, lock: bool = False) -> SourceBinding:
    """As `find_source`. Raises NotFound."""
    if (found := find_source(work, name, lock=lock)) is None:
        raise NotFound(f"there is no source binding {name[:80]}")
    return found


def find_namespaces(work: UnitOfWork, team: str, *, lock: bool = False) -> NamespaceBinding | None:
    """The binding of a team, or of a pattern of teams. lock: nobody else changes one until the transaction ends."""
    known = work.bindings.lock() if lock else work.bindings.all()
    return next((one for one in known.namespaces if one.team == team), None)


def get_namespaces(work: UnitOfWork, team: str, *, lock: bool = False) -> NamespaceBinding:
    """As `find_namespaces`. Raises NotFound."""
    if (found := find_namespaces(work, team, lock=lock)) is None:
        raise NotFound(f"no namespaces are bound to team {team[:80]}")
    return found


def put_source(work: UnitOfWork, binding: SourceBinding, actor: Actor) -> bool:
    """Binds a source, or replaces the binding of that name. False when it is so already. Raises OperationRefused."""
    if not NAME.fullmatch(binding.name):
        raise OperationRefused("name", NAME_RULE)
    if (problem := bad_source(binding.source)) is not None:
        raise OperationRefused("source", problem)
    for field, patterns in (("teams", binding.teams), ("namespaces", binding.namespaces)):
        if (problem := bad_labels(patterns)) is not None:
            raise OperationRefused(field, problem)
    if not binding.actions:
        raise OperationRefused("actions", f"must name one of {', '.join(SourceAction)}")
    known = find_source(work, binding.name, lock=True)
    if known == binding:
        return False
    work.bindings.put_source(binding)
    after = binding.as_json()
    changed = changes(None if known is None else known.as_json(), after)
    work.audit("source.bound", f"source-binding/{binding.name}", actor, **after, changes=changed)
    return True


def delete_source(work: UnitOfWork, name: str, actor: Actor) -> None:
    """Deletes a source binding. Raises NotFound."""
    before = get_source(work, name, lock=True).as_json()
    work.bindings.delete_source(name)
    work.audit("source.unbound", f"source-binding/{name}", actor, **before, changes=changes(before, None))


def put_namespaces(work: UnitOfWork, binding: NamespaceBinding, actor: Actor) -> bool:
    """Binds namespaces to a team, in place of those of before. False when it is so already. Raises OperationRefused."""
    for field, patterns in (("team", (binding.team,)), ("namespaces", binding.namespaces)):
        if (problem := bad_labels(patterns)) is not None:
            raise OperationRefused(field, problem)
    if forbidden := [one for one in binding.namespaces if is_forbidden(one)]:
        raise OperationRefused("namespaces", f"no team may use {', '.join(forbidden)}")
    known = find_namespaces(work, binding.team, lock=True)
    if known == binding:
        return False
    work.bindings.put_namespaces(binding)
    changed = changes(None if known is None else known.as_json(), binding.as_json())
    work.audit(
        "namespaces.bound",
        f"namespace-binding/{binding.team}",
        actor,
        namespaces=[*binding.namespaces],
        changes=changed,
    )
    return True


def delete_namespaces(work: UnitOfWork, team: str, actor: Actor) -> None:
    """Leaves a team the namespace that is named like it. Raises NotFound."""
    before = get_namespaces(work, team, lock=True).as_json()
    work.bindings.delete_namespaces(team)
    work.audit("namespaces.unbound", f"namespace-binding/{team}", actor, changes=changes(before, None))


def allow_all(work: UnitOfWork, actor: Actor) -> Bindings:
    """Allows everything where nothing was ever bound, as a laptop does. What is bound then."""
    if work.bindings.revision() is None:
        for one in ALLOW_ALL.sources:
            put_source(work, one, actor)
        for of_team in ALLOW_ALL.namespaces:
            put_namespaces(work, of_team, actor)
    return work.bindings.all()
