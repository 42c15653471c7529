"""Events are a way in: whoever is not bound to a team cannot act for it, and everybody stays in their namespaces."""

import uuid

import pytest
import sqlalchemy as sa

from shared.errors import NotFound, OperationRefused
from shared.models.bindings import ALLOW_ALL, NamespaceBinding, SourceAction, SourceBinding
from shared.models.lifecycle import Phase
from shared.operations import bindings
from shared.store.unit_of_work import Store
from tests.support.builders import (
    INTAKE,
    POLICY,
    PROPOSED,
    REJECTED,
    SUBMITTED,
    TESTS,
    WITHDRAWN,
    Deliver,
    id_of,
    rows,
    submission,
    told,
    withdrawal,
)

CI, ELSE = "https://ci.example/runs", "https://else.example"


@pytest.fixture
def bound(store: Store) -> Store:
    """CI may act for the team search, and nobody else for anyone."""
    with store.begin() as work:
        for one in work.bindings.all().sources:
            bindings.delete_source(work, one.name, TESTS)
        bindings.put_source(work, SourceBinding("ci", "https://ci.example/*", ("search",)), TESTS)
        bindings.delete_namespaces(work, "*", TESTS)
    return store


def rejected(deliver: Deliver, type_name: str, data: object, source: str) -> list[dict[str, str]]:
    event = told(deliver(INTAKE, type_name, data, source=source))
    assert event.type == REJECTED
    assert isinstance(event.data, dict)
    errors = event.data["errors"]
    assert isinstance(errors, list)
    return [dict(error) for error in errors]  # type: ignore[arg-type]


def phase(store: Store, name: str = "test-inference") -> Phase:
    with store.begin() as work:
        found = work.workloads.get(id_of(name))
    assert found is not None
    return found.phase


def test_a_source_acts_for_the_team_that_it_is_bound_to(deliver: Deliver, bound: Store) -> None:
    assert told(deliver(INTAKE, SUBMITTED, submission(), source=CI)).type == PROPOSED
    assert told(deliver(INTAKE, WITHDRAWN, withdrawal(), source=CI)).type == PROPOSED


@pytest.mark.parametrize(("type_name", "verb"), [(SUBMITTED, "submit"), (WITHDRAWN, "withdraw")])
def test_who_is_not_bound_is_told_so_and_audited_and_changes_nothing(
    deliver: Deliver, bound: Store, owner_engine: sa.Engine, type_name: str, verb: str
) -> None:
    deliver(INTAKE, SUBMITTED, submission(), source=CI)
    before = rows(owner_engine, "workloads")
    data = submission(image="evil:1") if verb == "submit" else withdrawal()
    [error] = rejected(deliver, type_name, data, ELSE)
    assert error == {
        "field": "source",
        "message": f"events of source {ELSE} may not {verb} for team search in namespace search;"
        " an admin can bind the source (PUT /api/v1/source-bindings/NAME)",
    }
    assert rows(owner_engine, "workloads") == before
    with bound.begin() as work:
        last = work.audit_entries(str(id_of()))[-1]
    assert (last.action, last.actor) == ("workload.rejected", f"event_source:{ELSE}")


def test_neither_of_two_teams_acts_for_the_other(deliver: Deliver, bound: Store, owner_engine: sa.Engine) -> None:
    with bound.begin() as work:
        bindings.put_source(work, SourceBinding("ads", "/ads/*", ("ads",)), TESTS)
    sources = {"search": CI, "ads": "/ads/ci"}
    for team, source in sources.items():
        mine = submission(team=team, namespace=team)
        assert told(deliver(INTAKE, SUBMITTED, mine, source=source)).type == PROPOSED
    before = rows(owner_engine, "workloads"), rows(owner_engine, "action_plans")
    for team, source in zip(sources, reversed(sources.values()), strict=True):
        theirs = {"team": team, "namespace": team}
        for type_name, data in (
            (SUBMITTED, submission(image="evil:1", **theirs)),
            (SUBMITTED, submission("new", **theirs)),
            (WITHDRAWN, withdrawal(**theirs)),
            (WITHDRAWN, {"name": "new", "generation": 9, **theirs}),
        ):
            assert f"may not {type_name.split('.')[-2][:6]}" in rejected(deliver, type_name, data, source)[0]["message"]
    assert (rows(owner_engine, "workloads"), rows(owner_engine, "action_plans")) == before
    for team, source in sources.items():
        mine = withdrawal(team=team, namespace=team)
        assert told(deliver(INTAKE, WITHDRAWN, mine, source=source)).type == PROPOSED


@pytest.mark.parametrize("source", ["/sentinel/api", "/sentinel/workload-intake", "/sentinel/cli"])
def test_a_source_of_sentinel_is_bound_like_any_other(deliver: Deliver, bound: Store, source: str) -> None:
    assert rejected(deliver, SUBMITTED, submission(), source)[0]["field"] == "source"


def test_a_source_may_be_bound_to_some_namespaces_of_a_team(deliver: Deliver, bound: Store) -> None:
    with bound.begin() as work:
        bindings.put_source(work, SourceBinding("ci", CI, ("search",), ("search-*",)), TESTS)
        bindings.put_namespaces(work, NamespaceBinding("search", ("search", "search-*")), TESTS)
    assert rejected(deliver, SUBMITTED, submission(), CI)[0]["field"] == "source"
    assert told(deliver(INTAKE, SUBMITTED, submission(namespace="search-eu"), source=CI)).type == PROPOSED


def test_bindings_that_have_not_changed_cost_one_statement(deliver: Deliver, engine: sa.Engine, bound: Store) -> None:
    deliver(INTAKE, SUBMITTED, submission(), source=CI)
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.extend(table for table in ("binding_set", "_bindings") if table in statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    deliver(INTAKE, SUBMITTED, submission("other"), source=CI)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert asked == ["binding_set"]


def test_a_binding_counts_with_the_next_event(deliver: Deliver, bound: Store) -> None:
    rejected(deliver, SUBMITTED, submission(), ELSE)
    with bound.begin() as work:
        assert bindings.put_source(work, SourceBinding("else", ELSE), TESTS)
        assert not bindings.put_source(work, SourceBinding("else", ELSE), TESTS)
    assert told(deliver(INTAKE, SUBMITTED, submission(), source=ELSE)).type == PROPOSED
    with bound.begin() as work:
        bindings.delete_source(work, "else", TESTS)
    rejected(deliver, SUBMITTED, submission("other"), ELSE)


def test_a_plan_from_outside_needs_a_source_that_may_propose(deliver: Deliver, bound: Store) -> None:
    deliver(INTAKE, SUBMITTED, submission(), source=CI)
    with bound.begin() as work:
        known = work.workloads.get(id_of())
    assert known is not None
    plan = {
        "plan": "0c8d5f8e-7f4f-5d9e-8a52-1c5a3a1e5b60",
        "workload": str(known.id),
        "generation": known.generation,
        "decisions": [{"verb": "scale", "cluster": "local", "replicas": 1}],
        "source": "decision_service",
    }
    refused = told(deliver(POLICY, PROPOSED, plan, source=CI))
    assert (refused.type, b"may not propose for team search" in refused.body) == (REJECTED, True)
    with bound.begin() as work:
        last = work.audit_entries(str(known.id))[-1]
        assert (last.action, last.actor) == ("workload.rejected", f"event_source:{CI}")
        assert work.plans.get(uuid.UUID(str(plan["plan"]))) is None
        bindings.put_source(work, SourceBinding("ci", CI, actions=(SourceAction.PROPOSE,)), TESTS)
    answer = deliver(POLICY, PROPOSED, plan, source=CI)
    assert b"may not propose" not in answer.body


@pytest.mark.parametrize("namespace", ["default", "ads", "kube-system"])
def test_a_workload_stays_in_the_namespaces_of_its_team(deliver: Deliver, bound: Store, namespace: str) -> None:
    [error] = rejected(deliver, SUBMITTED, submission(namespace=namespace), CI)
    assert error["field"] == "namespace"
    assert namespace in error["message"]


def test_a_namespace_that_is_bound_to_a_team_is_the_teams(deliver: Deliver, bound: Store) -> None:
    with bound.begin() as work:
        bindings.put_namespaces(work, NamespaceBinding("search", ("search", "ranking-*")), TESTS)
    assert told(deliver(INTAKE, SUBMITTED, submission(namespace="ranking-eu"), source=CI)).type == PROPOSED
    assert rejected(deliver, SUBMITTED, submission(namespace="ranking"), CI)[0]["field"] == "namespace"


def test_what_runs_in_a_namespace_that_was_taken_away_can_still_be_withdrawn(deliver: Deliver, bound: Store) -> None:
    with bound.begin() as work:
        bindings.put_namespaces(work, NamespaceBinding("search", ("old",)), TESTS)
    deliver(INTAKE, SUBMITTED, submission(namespace="old"), source=CI)
    with bound.begin() as work:
        bindings.delete_namespaces(work, "search", TESTS)
    assert told(deliver(INTAKE, WITHDRAWN, withdrawal(namespace="old"), source=CI)).type == PROPOSED


def test_everything_is_allowed_only_where_nothing_was_ever_bound(store: Store, bound: Store) -> None:
    with bound.begin() as work:
        assert not bindings.allow_all(work, TESTS).allows_everything
        bindings.delete_source(work, "ci", TESTS)
        assert bindings.allow_all(work, TESTS).sources == ()
        with pytest.raises(NotFound):
            bindings.delete_source(work, "ci", TESTS)
    assert ALLOW_ALL.allows_everything


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        (SourceBinding("Not A Name", "*"), "name"),
        (SourceBinding("a", ""), "source"),
        (SourceBinding("a", "*", ()), "teams"),
        (SourceBinding("a", "*", namespaces=("",)), "namespaces"),
        (SourceBinding("a", "*", actions=()), "actions"),
    ],
)
def test_a_bad_binding_is_refused_with_its_field(store: Store, binding: SourceBinding, field: str) -> None:
    with pytest.raises(OperationRefused) as refused, store.begin() as work:
        bindings.put_source(work, binding, TESTS)
    assert refused.value.errors[0][0] == field


def test_a_change_of_bindings_is_audited(bound: Store) -> None:
    with bound.begin() as work:
        [entry] = work.audit_entries("source-binding/ci")
    assert (entry.action, entry.actor) == ("source.bound", str(TESTS))
    assert entry.detail["teams"] == ["search"]
