"""The deciding transaction: how many statements it is, and what others wait for while it decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.models.cluster import Cluster
from shared.policy import recorded
from shared.policy.documents import PolicyDocument
from shared.policy.facts import ScopeUsage
from shared.policy.vocabulary import CountingScope, ScopeKind
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, Deliver, connection_of, id_of
from tests.support.queueing import approved, gpus, policy

BUDGET = 21
"""Statements of a decision that approves, its claim, inbox row and audit included.

One of them asks whether it counts in the GPUs of its cluster.
"""

LOCKING = "pg_advisory_xact_lock("


@contextmanager
def counted(engine: sa.Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def decision(engine: sa.Engine, deliver: Deliver) -> list[str]:
    """The statements of one."""
    deliver.decide("before")
    proposed = deliver.submit("measured", replicas=1)
    with counted(engine) as statements:
        approved(deliver.forward(POLICY, proposed))
    return statements


def test_a_decision_keeps_to_its_statements(engine: sa.Engine, store: Store, deliver: Deliver) -> None:
    policy(store, gpus(1000), {"type": "cost_ceiling", "usd_per_hour": "1000"})
    assert len(decision(engine, deliver)) <= BUDGET


@pytest.mark.parametrize("scope", ["team", "cluster", "global"])
def test_under_the_locks_only_what_the_rules_count_is_added_up(
    engine: sa.Engine, store: Store, deliver: Deliver, scope: str
) -> None:
    policy(store, gpus(1000, scope), {"type": "cost_ceiling", "usd_per_hour": "1000"})
    statements = decision(engine, deliver)
    locked = next(number for number, text in enumerate(statements) if LOCKING in text)
    before, after = statements[:locked], statements[locked:]
    marks = {f"'{kind}' AS kind" for kind in ("team", "cluster", "global")}
    assert {mark for mark in marks for text in after if mark in text} == {f"'{scope}' AS kind"}
    assert {mark for mark in marks for text in before if mark in text} == marks - {f"'{scope}' AS kind"}
    assert not [text for text in after if "FROM prices" in text or "FROM deployments" in text]


@pytest.mark.parametrize("counted_scopes", [(), ("team",), ("workload",), ("team", "cluster", "global", "workload")])
def test_what_a_plan_leaves_elsewhere_is_not_in_the_facts(
    store: Store, deliver: Deliver, counted_scopes: tuple[str, ...]
) -> None:
    if counted_scopes:
        policy(store, *(gpus(1000, scope) for scope in counted_scopes))
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("east", {"region": "us"}, {"L4": 16}))
    deliver.decide("other", replicas=1, clusters={"matchLabels": {"region": "eu"}})
    deliver.decide("moves", replicas=2, clusters={"matchLabels": {"region": "eu"}})
    deliver.decide("moves", replicas=3, clusters={"matchLabels": {"region": "us"}})
    with store.begin() as work:
        usage = recorded.from_json(work.plans.decisions_on(id_of("moves"))[-1].facts).facts.usage
        held = work.ledger.holdings(id_of("moves")).lines
    assert {name: lines["L4"].gpus for name, lines in held.items()} == {"east": 3}
    told = {scope.kind: known.by_sku["L4"].gpus if known.by_sku else 0 for scope, known in usage.items()}
    assert told == {ScopeKind.WORKLOAD: 0, ScopeKind.TEAM: 1, ScopeKind.CLUSTER: 0, ScopeKind.GLOBAL: 1}
    assert usage[CountingScope(ScopeKind.CLUSTER, "east")] == ScopeUsage({}, Decimal(0))


def test_a_change_of_policies_waits_for_the_decisions_under_way(store: Store, deliver: Deliver) -> None:
    deliver.decide("measured", replicas=1)
    with store.begin() as deciding:
        found = deciding.workloads.get(id_of("measured"))
        assert found is not None
        deciding.plans.get_to_decide(found.plan_id, found.id)
        document = PolicyDocument.model_validate({"name": "late", "rules": [gpus(1)]})
        with pytest.raises((StoreUnavailable, sa.exc.DBAPIError)):
            put_without_waiting(store, document)


def put_without_waiting(store: Store, document: PolicyDocument) -> None:
    with store.begin() as work:
        connection_of(work).execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
        work.policies.put(document, "tests")
