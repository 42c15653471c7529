"""Policies with their history.

Every change makes a new version, kept for ever, and a new revision of the whole set.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue, ValidationError
from sqlalchemy.dialects.postgresql import insert

from shared.errors import NotFound, PolicyUnreadable
from shared.eventing.processing import describe
from shared.models.page import Page, PageRequest
from shared.models.validation import STORED
from shared.policy.documents import PolicyDocument
from shared.policy.history import PolicyChange, PolicyVersion
from shared.policy.policy_set import StoredPolicy
from shared.store import pages
from shared.store.rows import POLICY_SET_LOCK
from shared.store.tables import policies, policy_set, policy_versions

_ONLY_ROW = 1
SORTS = {"name": (policies.c.name,)}
_KEEP_OUT_DECISIONS = sa.select(sa.func.pg_advisory_xact_lock(POLICY_SET_LOCK))
_REVISION = sa.select(policy_set.c.revision)


@dataclass(frozen=True)
class PolicyRows:
    """Policies, inside one transaction."""

    connection: sa.Connection

    def put(self, document: PolicyDocument, author: str) -> StoredPolicy | None:
        """Adds a policy or replaces the one of that name. None when it is the same already."""
        row = self._to_be_changed(document.name)
        body = document.model_dump(mode="json", by_alias=True)
        # Compared as it reads today: a version that adds a field does not make every document another one.
        if row is not None and _stored(row).document == document:
            return None
        return self._write(document.name, row, body, PolicyChange.REPLACED if row else PolicyChange.ADDED, author)

    def set_enabled(self, name: str, author: str, *, enabled: bool) -> StoredPolicy | None:
        """Enables or disables a policy; None when it is so already. Raises NotFound.

        One that cannot be read may be disabled, and stays as it is otherwise. To enable it raises PolicyUnreadable: it
        could only deny.
        """
        row = self._to_be_changed(name)
        if row is None:
            raise NotFound(f"there is no policy {name[:80]}")
        stored = _stored(row)
        if enabled and stored.document is None:
            raise PolicyUnreadable(f"policy {name} cannot be read: {stored.problem}")
        if stored.enabled is enabled:
            return None
        as_it_is = (
            stored.raw_document if stored.document is None else stored.document.model_dump(mode="json", by_alias=True)
        )
        change = PolicyChange.ENABLED if enabled else PolicyChange.DISABLED
        return self._write(name, row, {**as_it_is, "enabled": enabled}, change, author)

    def get(self, name: str) -> StoredPolicy | None:
        row = self._row(name)
        return None if row is None else _stored(row)

    def all(self) -> list[StoredPolicy]:
        """By name. One that can no longer be read says why, instead of vanishing."""
        return [_stored(row) for row in self.connection.execute(sa.select(policies).order_by(policies.c.name))]

    def page(self, request: PageRequest) -> Page[StoredPolicy]:
        """A page of the policies, by name."""
        return pages.fetch(self.connection, sa.select(policies), SORTS, request, _stored)

    def lock(self, name: str) -> StoredPolicy | None:
        """A policy that nobody else changes until this transaction ends."""
        row = self._to_be_changed(name)
        return None if row is None else _stored(row)

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

    def _row(self, name: str) -> sa.Row[Any] | None:
        return self.connection.execute(sa.select(policies).where(policies.c.name == name)).one_or_none()

    def _to_be_changed(self, name: str) -> sa.Row[Any] | None:
        """The row as the last change left it.

        Decisions are waited for, and new ones wait: what was approved under the old set is in the ledger before the
        new one counts. Then the set's row is locked: changes take turns, none undoes another, and a revision stands
        for one set.
        """
        self.connection.execute(_KEEP_OUT_DECISIONS)
        self._new_revision()
        return self._row(name)

    def _write(
        self, name: str, row: sa.Row[Any] | None, body: dict[str, JsonValue], change: PolicyChange, author: str
    ) -> StoredPolicy:
        policy_id, version = (row.id, row.version + 1) if row else (uuid.uuid4(), 1)
        values = {"document": body, "version": version}
        statement = insert(policies).values(id=policy_id, name=name, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={**values, "updated_at": sa.func.now()})
        )
        self.connection.execute(
            policy_versions.insert().values(
                policy_id=policy_id, version=version, change=change, author=author, document=body
            )
        )
        return _read(name, body, policy_id, version)

    def _new_revision(self) -> None:
        values = {"revision": sa.func.gen_random_uuid()}
        statement = insert(policy_set).values(id=_ONLY_ROW, **values)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": sa.func.now()})
        )


def _stored(row: sa.Row[Any]) -> StoredPolicy:
    return _read(row.name, row.document, row.id, row.version)


def _read(name: str, body: JsonValue, policy_id: uuid.UUID, version: int) -> StoredPolicy:
    try:
        document = PolicyDocument.model_validate(body, context=STORED)
    except ValidationError as error:
        unread = body if isinstance(body, dict) else {}
        return StoredPolicy(name, None, describe(error), policy_id, version, unread)
    return StoredPolicy(name, document, "", policy_id, version)
