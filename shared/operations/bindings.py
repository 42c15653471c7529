"""Bind event sources to teams, and namespaces to teams; and hold what is asked for against it."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING

from shared.errors import NotBound, NotFound, OperationRefused
from shared.models.account import NAME, NAME_RULE
from shared.models.bindings import ALLOW_ALL, Bindings, NamespaceBinding, SourceAction, SourceBinding, bad_patterns
from shared.models.changes import changes

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.workload import WorkloadSpec
    from shared.store.unit_of_work import UnitOfWork


class BindingCache:
    """The bindings of the newest revision that this process has seen. A change counts in the next transaction."""

    def __init__(self) -> None:
        self._known: tuple[uuid.UUID | None, Bindings] | None = None

    def current(self, work: UnitOfWork) -> Bindings:
        """The bindings as the transaction sees them; only their revision is read when they have not changed."""
        revision = work.bindings.revision()
        if self._known is None or self._known[0] != revision:
            self._known = (revision, work.bindings.all() if revision else Bindings())
        return self._known[1]


def check_source(bindings: Bindings, source: str, action: SourceAction, team: str, namespace: str) -> None:
    """Raises NotBound for an event whose source is not bound to what it asks for."""
    if (reason := bindings.refuse_source(source, action, team, namespace)) is not None:
        raise NotBound("source", reason)


def check_namespace(bindings: Bindings, spec: WorkloadSpec) -> None:
    """Raises OperationRefused for a workload in a namespace that is not its team's."""
    if (reason := bindings.refuse_namespace(spec.team, spec.namespace)) is not None:
        raise OperationRefused("namespace", reason)


def put_source(work: UnitOfWork, binding: SourceBinding, actor: Actor) -> bool:
    """Binds a source, or replaces the binding of that name. False when it is so already. Raises OperationRefused."""
    if not NAME.fullmatch(binding.name):
        raise OperationRefused("name", NAME_RULE)
    for field, patterns in (
        ("source", (binding.source,)),
        ("teams", binding.teams),
        ("namespaces", binding.namespaces),
    ):
        if (problem := bad_patterns(patterns)) is not None:
            raise OperationRefused(field, problem)
    if not binding.actions:
        raise OperationRefused("actions", f"must name one of {', '.join(SourceAction)}")
    known = {one.name: one for one in work.bindings.lock().sources}
    if known.get(binding.name) == binding:
        return False
    work.bindings.put_source(binding)
    after = asdict(binding)
    changed = changes(asdict(known[binding.name]) if binding.name in known else None, after)
    work.audit("source.bound", f"source-binding/{binding.name}", actor, **after, changes=changed)
    return True


def delete_source(work: UnitOfWork, name: str, actor: Actor) -> None:
    """Deletes a source binding. Raises NotFound."""
    known = {one.name: one for one in work.bindings.lock().sources}
    if name not in known:
        raise NotFound(f"there is no source binding {name[:80]}")
    work.bindings.delete_source(name)
    work.audit("source.unbound", f"source-binding/{name}", actor, **asdict(known[name]))


def put_namespaces(work: UnitOfWork, binding: NamespaceBinding, actor: Actor) -> bool:
    """Binds namespaces to a team, in place of those of before. False when it is so already. Raises OperationRefused."""
    for field, patterns in (("team", (binding.team,)), ("namespaces", binding.namespaces)):
        if (problem := bad_patterns(patterns)) is not None:
            raise OperationRefused(field, problem)
    known = {one.team: one for one in work.bindings.lock().namespaces}
    if known.get(binding.team) == binding:
        return False
    work.bindings.put_namespaces(binding)
    changed = changes(asdict(known[binding.team]) if binding.team in known else None, asdict(binding))
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
    if all(one.team != team for one in work.bindings.lock().namespaces):
        raise NotFound(f"no namespaces are bound to team {team[:80]}")
    work.bindings.delete_namespaces(team)
    work.audit("namespaces.unbound", f"namespace-binding/{team}", actor)


def allow_all(work: UnitOfWork, actor: Actor) -> Bindings:
    """Allows everything where nothing was ever bound, as a laptop does. What is bound then."""
    if work.bindings.revision() is None:
        for source in ALLOW_ALL.sources:
            put_source(work, source, actor)
        for namespaces in ALLOW_ALL.namespaces:
            put_namespaces(work, namespaces, actor)
    return work.bindings.all()
