"""Policies: every change is a new version with an audit row that names its actor."""

from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import NotFound, PolicyUnreadable
from shared.models.actor import Actor
from shared.operations import policies
from shared.operations.policies import ChangedPolicy
from shared.policy.documents import PolicyDocument
from shared.policy.history import PolicyChange
from shared.store import tables
from shared.store.unit_of_work import Store

ADA = Actor.operator("ada")
DOCUMENT = PolicyDocument.model_validate({"name": "gpus", "rules": [{"type": "quota", "gpus": 16}]})
SMALLER = PolicyDocument.model_validate({"name": "gpus", "rules": [{"type": "quota", "gpus": 8}]})


def test_a_change_is_audited_with_its_actor_and_told_to_the_edge(store: Store) -> None:
    with store.begin() as work:
        added = policies.put(work, DOCUMENT, "bo", ADA)
    with store.begin() as work:
        assert policies.put(work, DOCUMENT, "bo", ADA) is None
        replaced = policies.put(work, SMALLER, "bo", ADA)
        disabled = policies.disable(work, "gpus", "bo", ADA)
        assert policies.disable(work, "gpus", "bo", ADA) is None
        enabled = policies.enable(work, "gpus", "bo", ADA)
    assert added == ChangedPolicy("gpus", 1, PolicyChange.ADDED, "bo")
    assert replaced == ChangedPolicy("gpus", 2, PolicyChange.REPLACED, "bo")
    assert disabled == ChangedPolicy("gpus", 3, PolicyChange.DISABLED, "bo")
    assert enabled == ChangedPolicy("gpus", 4, PolicyChange.ENABLED, "bo")
    with store.begin() as work:
        rows = work.audit_entries("policy/gpus")
    assert [(row.action, row.actor, row.detail["version"]) for row in rows] == [
        ("policy.added", "operator:ada", 1),
        ("policy.replaced", "operator:ada", 2),
        ("policy.disabled", "operator:ada", 3),
        ("policy.enabled", "operator:ada", 4),
    ]


def test_the_history_says_what_each_version_made_different(store: Store) -> None:
    with store.begin() as work:
        policies.put(work, DOCUMENT, "ada", ADA)
        policies.put(work, SMALLER, "bo", ADA)
        first, second = policies.history(work, "gpus")
        detail = policies.get(work, "gpus")
    assert (first.differences, second.differences) == ((), ("rules.0.gpus: 16 -> 8",))
    assert (detail.newest, detail.policy.document) == (second.version, SMALLER)
    assert second.version.author == "bo"


def test_a_policy_that_is_not_there_is_refused_everywhere(store: Store) -> None:
    with store.begin() as work:
        for refused in (
            lambda: policies.get(work, "none"),
            lambda: policies.history(work, "none"),
            lambda: policies.enable(work, "none", "ada", ADA),
            lambda: policies.disable(work, "none", "ada", ADA),
        ):
            with pytest.raises(NotFound, match="there is no policy none"):
                refused()
        assert work.policies.all() == []


def test_a_policy_that_cannot_be_read_is_disabled_and_never_enabled(store: Store, owner_engine: sa.Engine) -> None:
    stored: dict[str, Any] = {"name": "gpus", "rules": [{"type": "old"}]}
    with store.begin() as work:
        policies.put(work, DOCUMENT, "ada", ADA)
    with owner_engine.begin() as connection:
        connection.execute(sa.update(tables.policies).values(document=stored))
    with store.begin() as work:
        assert policies.disable(work, "gpus", "ada", ADA) == ChangedPolicy("gpus", 2, PolicyChange.DISABLED, "ada")
        with pytest.raises(PolicyUnreadable):
            policies.enable(work, "gpus", "ada", ADA)
        assert policies.get(work, "gpus").policy.as_json() == {**stored, "enabled": False}
