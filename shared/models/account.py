"""Accounts: users, and service accounts for programs."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from shared.models.actor import Actor, ActorKind
from shared.models.identity import Principal, RoleBinding
from shared.models.moments import rfc3339

NAME = re.compile(r"[a-z0-9]([a-z0-9._@-]{0,126}[a-z0-9])?")
NAME_RULE = "must be 1 to 128 of a-z, 0-9, `.`, `_`, `@` and `-`, and begin and end with a letter or digit"


class AccountKind(StrEnum):
    """What an account is for."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True)
class Account:
    """One account with its roles.

    issuer: "" for one with a password here; otherwise the external OpenID Connect issuer that it logs in at, where
    `name` is its `sub`. revision: counts changes, role bindings included.
    """

    id: uuid.UUID
    kind: AccountKind
    name: str
    issuer: str = ""
    disabled: bool = False
    revision: int = 1
    bindings: tuple[RoleBinding, ...] = ()
    created_at: datetime | None = None

    @property
    def actor(self) -> Actor:
        """As audit rows name it: `user:ada`, or `user:<sub>@<issuer>`."""
        kind = ActorKind.USER if self.kind is AccountKind.USER else ActorKind.SERVICE_ACCOUNT
        return Actor(kind, f"{self.name}@{self.issuer}" if self.issuer else self.name)

    @property
    def principal(self) -> Principal:
        """Who a request with a token of this account acts as."""
        return Principal(self.actor, self.id, self.bindings)

    def as_json(self) -> dict[str, JsonValue]:
        """For machines, with the roles that are bound to it."""
        return {
            "id": str(self.id),
            "name": self.name,
            "issuer": self.issuer or None,
            "disabled": self.disabled,
            "revision": self.revision,
            "roles": [{"role": one.role.value, "team": one.team} for one in self.bindings],
            "createdAt": rfc3339(self.created_at),
        }


@dataclass(frozen=True)
class AccountRole:
    """A role binding as it is stored. account: whom it is bound to."""

    id: uuid.UUID
    account: Account
    binding: RoleBinding
    created_at: datetime

    def as_json(self) -> dict[str, JsonValue]:
        """For machines. team None: all teams."""
        return {
            "id": str(self.id),
            "accountId": str(self.account.id),
            "kind": self.account.kind.value,
            "name": self.account.name,
            "issuer": self.account.issuer or None,
            "role": self.binding.role.value,
            "team": self.binding.team,
            "createdAt": rfc3339(self.created_at),
        }


@dataclass(frozen=True)
class AccountToken:
    """A long-lived token of a service account; the token itself is shown once and stored nowhere."""

    id: uuid.UUID
    account_id: uuid.UUID
    description: str
    expires_at: datetime
    revoked_at: datetime | None = None
    created_at: datetime | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """For machines, without the token."""
        return {
            "id": str(self.id),
            "description": self.description,
            "expiresAt": rfc3339(self.expires_at),
            "revokedAt": rfc3339(self.revoked_at),
            "createdAt": rfc3339(self.created_at),
        }


@dataclass(frozen=True)
class RefreshToken:
    """One use of a login. Those that follow from one login are a family."""

    id: uuid.UUID
    family: uuid.UUID
    account_id: uuid.UUID
    expires_at: datetime
    used_at: datetime | None = None
    revoked_at: datetime | None = None
