"""Policies: put, enable and disable them, and read them with their history.

Every change is one new version with its audit row. Edges announce a change in the same transaction, so that what
waits in the queue is evaluated again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from shared.errors import NotFound, WrongState
from shared.models.changes import changes
from shared.policy.history import PolicyChange, PolicyVersion, differences

if TYPE_CHECKING:
    from shared.models.actor import Actor
    from shared.models.page import Page, PageRequest
    from shared.policy.documents import PolicyDocument
    from shared.policy.policy_set import StoredPolicy
    from shared.store.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class ChangedPolicy:
    """A new version of a policy: what it did, and who is its author."""

    name: str
    version: int
    change: PolicyChange
    author: str


@dataclass(frozen=True)
class PolicyDetail:
    """A policy with the newest entry of its history."""

    policy: StoredPolicy
    newest: PolicyVersion


@dataclass(frozen=True)
class HistoryEntry:
    """A version with what it made different from the one before, field by field; nothing for the first."""

    version: PolicyVersion
    differences: tuple[str, ...]


def put(work: UnitOfWork, document: PolicyDocument, author: str, actor: Actor) -> ChangedPolicy | None:
    """Adds a policy, or replaces the one of its name; None when it is the same already."""
    before = work.policies.get(document.name)
    stored = work.policies.put(document, author)
    if stored is None:
        return None
    change = PolicyChange.ADDED if stored.version == 1 else PolicyChange.REPLACED
    return _record(work, before, stored, change, author, actor)


def create(work: UnitOfWork, document: PolicyDocument, author: str, actor: Actor) -> ChangedPolicy:
    """Adds a policy. Raises WrongState when there is one of its name."""
    changed = put(work, document, author, actor)
    if changed is None or changed.change is not PolicyChange.ADDED:
        raise WrongState(f"there is a policy {document.name} already: replace it")
    return changed


def lock(work: UnitOfWork, name: str) -> StoredPolicy:
    """A policy that nobody else changes until this transaction ends. Raises NotFound."""
    policy = work.policies.lock(name)
    if policy is None:
        raise _not_found(name)
    return policy


def enable(work: UnitOfWork, name: str, author: str, actor: Actor) -> ChangedPolicy | None:
    """Puts a policy into force; None when it is in force already.

    Raises NotFound, and PolicyUnreadable for one that could only deny.
    """
    return _switch(work, name, author, actor, enabled=True)


def disable(work: UnitOfWork, name: str, author: str, actor: Actor) -> ChangedPolicy | None:
    """Takes a policy out of force, also one that cannot be read; None when it is disabled already. Raises NotFound."""
    return _switch(work, name, author, actor, enabled=False)


def page(work: UnitOfWork, request: PageRequest) -> Page[StoredPolicy]:
    """A page of the policies, sorted by `name`."""
    return work.policies.page(request)


def get(work: UnitOfWork, name: str) -> PolicyDetail:
    """One policy. Raises NotFound."""
    policy = work.policies.get(name)
    if policy is None:
        raise _not_found(name)
    return PolicyDetail(policy, work.policies.history(name)[-1])


def history(work: UnitOfWork, name: str) -> list[HistoryEntry]:
    """Every version of a policy, oldest first. Raises NotFound."""
    versions = work.policies.history(name)
    if not versions:
        raise _not_found(name)
    changes = [(), *(tuple(differences(a.document, b.document)) for a, b in pairwise(versions))]
    return [HistoryEntry(version, changed) for version, changed in zip(versions, changes, strict=True)]


def _switch(work: UnitOfWork, name: str, author: str, actor: Actor, *, enabled: bool) -> ChangedPolicy | None:
    before = work.policies.get(name)
    stored = work.policies.set_enabled(name, author, enabled=enabled)
    if stored is None:
        return None
    return _record(work, before, stored, PolicyChange.ENABLED if enabled else PolicyChange.DISABLED, author, actor)


def _record(
    work: UnitOfWork,
    before: StoredPolicy | None,
    stored: StoredPolicy,
    change: PolicyChange,
    author: str,
    actor: Actor,
) -> ChangedPolicy:
    work.audit(
        f"policy.{change}",
        f"policy/{stored.name}",
        actor,
        version=stored.version,
        author=author,
        document=stored.as_json(),
        changes=changes(None if before is None else before.as_json(), stored.as_json()),
    )
    return ChangedPolicy(stored.name, stored.version, change, author)


def _not_found(name: str) -> NotFound:
    return NotFound(f"there is no policy {name[:80]}")
