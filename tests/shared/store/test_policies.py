"""Stored policies: replaced, switched, and what becomes of one that can no longer be read."""

from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from shared.errors import PolicyUnreadable
from shared.policy.documents import PolicyDocument
from shared.policy.history import PolicyChange
from shared.policy.policy_set import PolicySet, StoredPolicy
from shared.store.tables import policies
from shared.store.unit_of_work import Store
from tests.support.builders import connection_of


def test_policies_are_replaced_by_name_and_an_unreadable_one_says_why(store: Store, owner_engine: sa.Engine) -> None:
    rules = [{"type": "quota", "gpus": 1, "memory": "8Gi"}, {"type": "cost_ceiling", "usd_per_hour": "1.50"}]
    document = PolicyDocument.model_validate({"name": "a", "rules": rules})
    with store.begin() as work:
        work.policies.put(document.model_copy(update={"priority": 5}), "tests")
        work.policies.put(document, "tests")
        work.policies.put(document.model_copy(update={"name": "b"}), "tests")
    with owner_engine.begin() as connection:
        connection.execute(sa.text("UPDATE policies SET document = '{}' WHERE name = 'b'"))
    with store.begin() as work:
        readable, broken = work.policies.all()
    assert (readable.name, readable.document) == ("a", document)
    assert (broken.name, broken.document, broken.problem) == ("b", None, "name: Field required")
    assert broken.enabled


def test_a_document_stored_before_a_field_was_added_is_unchanged_when_it_is_put_again(store: Store) -> None:
    document = PolicyDocument.model_validate({"name": "a", "rules": [{"type": "security"}]})
    before = {"name": "a", "rules": [{"type": "security", "no_privileged": True}]}
    with store.begin() as work:
        work.policies.put(document, "tests")
        connection_of(work).execute(sa.update(policies).values(document=before))
        assert work.policies.put(document, "tests") is None
        assert len(work.policies.history("a")) == 1


def test_a_policy_that_an_earlier_release_has_stored_keeps_its_meaning(store: Store) -> None:
    rules: list[dict[str, Any]] = [
        {"type": "cost_ceiling", "usd_per_hour": "1", "max_price_age": "P1095D"},
        {"type": "change_freeze", "windows": [{"start": "2026-01-01T00:00:00", "duration": "P1D"}]},
    ]
    document = PolicyDocument.model_validate({"name": "a", "rules": rules})
    window = {"start": "2026-01-01T00:00:00", "duration": "P1D", "recurrence": "FREQ=DAILY;UNTIL=2199"}
    before = {"name": "a", "rules": [{**rules[0], "max_price_age": "P3Y"}, {**rules[1], "windows": [window]}]}
    with pytest.raises(ValidationError):
        PolicyDocument.model_validate(before)
    with store.begin() as work:
        work.policies.put(document, "tests")
        connection_of(work).execute(sa.update(policies).values(document=before))
        [found] = work.policies.all()
    assert found.document is not None
    assert found.document.rules[0] == document.rules[0]
    assert found.problem == ""


OLD: dict[str, Any] = {"name": "old", "rules": [{"type": "of-old", "n": 1}], "selector": {"teams": ["x"]}}


@pytest.fixture
def spoilt(store: Store) -> Store:
    """A store with the policy `old`, which can no longer be read."""
    document = PolicyDocument.model_validate({"name": "old", "rules": [{"type": "quota", "gpus": 1}]})
    with store.begin() as work:
        work.policies.put(document, "ada")
        connection_of(work).execute(sa.update(policies).values(document=OLD))
    return store


def test_an_unreadable_policy_can_be_disabled_and_stays_as_it_is_otherwise(spoilt: Store) -> None:
    with spoilt.begin() as work:
        before = work.policies.revision()
        disabled = work.policies.set_enabled("old", "bo", enabled=False)
        assert disabled is not None
        assert (disabled.document, disabled.enabled, disabled.version) == (None, False, 2)
        assert disabled.problem.startswith("rules.0")
        assert work.policies.get("old") == disabled
        assert work.policies.revision() != before
        newest = work.policies.history("old")[-1]
        assert work.policies.set_enabled("old", "bo", enabled=False) is None
        assert len(work.policies.history("old")) == 2
        [stored] = PolicySet([disabled, StoredPolicy("other", None, "bad")]).policies
    assert (newest.version, newest.change, newest.author) == (2, PolicyChange.DISABLED, "bo")
    assert newest.document == {**OLD, "enabled": False}
    assert stored.name == "other"


def test_an_unreadable_policy_cannot_be_enabled_but_replaced(spoilt: Store) -> None:
    good = PolicyDocument.model_validate({"name": "old", "rules": [{"type": "quota", "gpus": 2}]})
    with spoilt.begin() as work:
        work.policies.set_enabled("old", "bo", enabled=False)
        with pytest.raises(PolicyUnreadable, match="policy old cannot be read: rules"):
            work.policies.set_enabled("old", "bo", enabled=True)
        replaced = work.policies.put(good, "bo")
        assert replaced is not None
        assert (replaced.document, replaced.enabled, replaced.version, replaced.raw_document) == (good, True, 3, {})
        assert [one.change for one in work.policies.history("old")] == ["added", "disabled", "replaced"]


@pytest.mark.parametrize("said", [None, "false", 0, "no", []])
def test_only_a_plain_false_disables_what_cannot_be_read(spoilt: Store, said: object) -> None:
    with spoilt.begin() as work:
        connection_of(work).execute(sa.update(policies).values(document={**OLD, "enabled": said}))
        [stored] = work.policies.all()
        assert stored.enabled
        assert PolicySet([stored]).policies == (stored,)


@pytest.mark.parametrize("document", [[], "text", 7])
def test_what_is_not_even_an_object_denies_and_can_be_disabled(spoilt: Store, document: object) -> None:
    with spoilt.begin() as work:
        connection_of(work).execute(sa.update(policies).values(document=document))
        [stored] = work.policies.all()
        assert (stored.document, stored.enabled) == (None, True)
        disabled = work.policies.set_enabled("old", "bo", enabled=False)
        assert disabled is not None
        assert not disabled.enabled
