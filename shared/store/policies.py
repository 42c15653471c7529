"""Policies with their history, and the compiled set that decisions are made on.

Every change makes a new version, kept for ever, and a new revision of the whole set. A decision reads the
revision in its own transaction and compiles the set again only when that has moved.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects.postgresql import insert

from shared.eventing.processing import describe
from shared.policy.documents import PolicyDocument
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.store.tables import policies, policy_set, policy_versions

_ONLY_ROW = 1
_REVISION = sa.select(policy_set.c.revision)


class PolicyChange(StrEnum):
    """What a version did to its policy."""

    ADDED = "added"
    REPLACED = "replaced"
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True)
class PolicyVersion:
    """One entry of a policy's history."""

    version: int
    change: PolicyChange
    author: str
    changed_at: datetime
    document: dict[str, Any]


@dataclass(frozen=True)
class PolicyRows:
    """Policies, inside one transaction."""

    connection: sa.Connection

    def put(self, document: PolicyDocument, author: str) -> StoredPolicy | None:
        """Adds a policy or replaces the one of that name. None when it is the same already."""
        return self._write(document, author, PolicyChange.REPLACED)

    def switch(self, name: str, author: str, *, enabled: bool) -> StoredPolicy | None:
        """Enables or disables a policy; None when it is so already. Raises KeyError when none of that name reads."""
        self._new_revision()  # before the read: another change of this policy must not be undone by this one
        stored = self.get(name)
        if stored is None or stored.document is None:
            raise KeyError(name)
        change = PolicyChange.ENABLED if enabled else PolicyChange.DISABLED
        return self._write(stored.document.model_copy(update={"enabled": enabled}), author, change)

    def get(self, name: str) -> StoredPolicy | None:
        row = self.connection.execute(sa.select(policies).where(policies.c.name == name)).one_or_none()
        return None if row is None else _stored(row)

    def all(self) -> list[StoredPolicy]:
        """By name. One that can no longer be read says why, instead of vanishing."""
        return [_stored(row) for row in self.connection.execute(sa.select(policies).order_by(policies.c.name))]

    def history(self, name: str) -> list[PolicyVersion]:
        """Every version of a policy, oldest first; empty when there is none."""
        statement = (
            sa.select(policy_versions)
            .join(policies, policies.c.id == policy_versions.c.policy_id)
            .where(policies.c.name == name)
            .order_by(policy_versions.c.version)
        )
        return [
            PolicyVersion(row.version, PolicyChange(row.change), row.author, row.created_at, row.document)
            for row in self.connection.execute(statement)
        ]

    def revision(self) -> uuid.UUID | None:
        """The revision of the whole set; None before the first policy. Random: a restored backup never repeats one."""
        return self.connection.execute(_REVISION).scalar_one_or_none()

    def _write(self, document: PolicyDocument, author: str, change: PolicyChange) -> StoredPolicy | None:
        # The set's row is locked first, so that changes take turns and a revision stands for one set.
        self._new_revision()
        body = document.model_dump(mode="json", by_alias=True)
        row = self.connection.execute(sa.select(policies).where(policies.c.name == document.name)).one_or_none()
        if row is not None and row.document == body:
            return None
        policy_id, version = (row.id, row.version + 1) if row else (uuid.uuid4(), 1)
        values = {"document": body, "version": version}
        statement = insert(policies).values(id=policy_id, name=document.name, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={**values, "updated_at": sa.func.now()})
        )
        self.connection.execute(
            policy_versions.insert().values(
                policy_id=policy_id,
                version=version,
                change=change if row else PolicyChange.ADDED,
                author=author,
                document=body,
            )
        )
        return StoredPolicy(document.name, document, id=policy_id, version=version)

    def _new_revision(self) -> None:
        values = {"revision": sa.func.gen_random_uuid()}
        statement = insert(policy_set).values(id=_ONLY_ROW, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": sa.func.now()})
        )


class PolicyCache:
    """The compiled set of the newest revision that this process has seen."""

    def __init__(self) -> None:
        self._compiled: tuple[uuid.UUID | None, PolicySet] | None = None

    def current(self, rows: PolicyRows) -> PolicySet:
        """The set as the transaction sees it."""
        revision = rows.revision()
        if self._compiled is None or self._compiled[0] != revision:
            self._compiled = (revision, PolicySet(rows.all()))
        return self._compiled[1]


def _stored(row: sa.Row[tuple[object, ...]]) -> StoredPolicy:
    try:
        document = PolicyDocument.model_validate(row.document)
    except ValidationError as error:
        return StoredPolicy(row.name, None, describe(error), row.id, row.version)
    return StoredPolicy(row.name, document, "", row.id, row.version)
