"""Who may do what: roles, what they permit, and the principal that a request acts as.

A role is bound to one team or to all. What a principal may do with an object depends on the object's team, so the
check comes after the object was read, and on every way in: REST, the command line, events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.models.actor import Actor

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping


class Permission(StrEnum):
    """One thing that may be done to one kind of object."""

    READ_WORKLOADS = "workloads:read"
    WRITE_WORKLOADS = "workloads:write"
    OPERATE_WORKLOADS = "workloads:operate"
    """Restart and roll back."""
    APPROVE_PLANS = "plans:approve"
    READ_POLICIES = "policies:read"
    WRITE_POLICIES = "policies:write"
    READ_CLUSTERS = "clusters:read"
    WRITE_CLUSTERS = "clusters:write"
    READ_PRICES = "prices:read"
    WRITE_PRICES = "prices:write"
    READ_DEAD_LETTERS = "dead-letters:read"
    REDRIVE_DEAD_LETTERS = "dead-letters:redrive"
    READ_AUDIT = "audit:read"
    READ_IDENTITY = "identity:read"
    WRITE_IDENTITY = "identity:write"
    """Users, service accounts, role bindings, source bindings and namespace bindings."""


class Role(StrEnum):
    """What is bound to people and service accounts."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    POLICY_ADMIN = "policy-admin"
    AUDITOR = "auditor"
    ADMIN = "admin"


OF_NO_TEAM = frozenset({Permission.READ_POLICIES, Permission.READ_CLUSTERS, Permission.READ_PRICES})
"""What every role may read, whatever team it is bound to: these objects belong to no team and hold no secret."""

_VIEWER = frozenset({Permission.READ_WORKLOADS}) | OF_NO_TEAM
_SUBMITTER = _VIEWER | {Permission.WRITE_WORKLOADS}
_OPERATOR = _SUBMITTER | {
    Permission.OPERATE_WORKLOADS,
    Permission.APPROVE_PLANS,
    Permission.WRITE_CLUSTERS,
    Permission.READ_DEAD_LETTERS,
    Permission.REDRIVE_DEAD_LETTERS,
}
PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.SUBMITTER: _SUBMITTER,
    Role.OPERATOR: _OPERATOR,
    Role.POLICY_ADMIN: _VIEWER | {Permission.WRITE_POLICIES, Permission.WRITE_PRICES, Permission.APPROVE_PLANS},
    Role.AUDITOR: _VIEWER | {Permission.READ_AUDIT, Permission.READ_IDENTITY, Permission.READ_DEAD_LETTERS},
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True)
class RoleBinding:
    """A role, for one team; team None is all teams, and what belongs to no team."""

    role: Role
    team: str | None = None


@dataclass(frozen=True)
class Principal:
    """Who a request acts as, with the roles that are bound to them now. id: of the user or service account, if any."""

    actor: Actor
    id: uuid.UUID | None = None
    bindings: tuple[RoleBinding, ...] = ()

    def may(self, permission: Permission, team: str | None) -> bool:
        """Whether an object of this team may be treated so. team None: an object that belongs to no team."""
        bound = [one for one in self.bindings if permission in PERMISSIONS[one.role]]
        if team is None and permission in OF_NO_TEAM:
            return bool(bound)
        return any(one.team is None or one.team == team for one in bound)

    def teams(self, permission: Permission) -> frozenset[str] | None:
        """The teams whose objects may be treated so; None for all."""
        bound = [one.team for one in self.bindings if permission in PERMISSIONS[one.role]]
        return None if None in bound else frozenset(team for team in bound if team is not None)
