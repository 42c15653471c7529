"""Policy evaluation through the endpoint core, on PostgreSQL: quotas, ceilings, races, plans from outside."""

import uuid
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from events.plan import PlanApproved, PlanDenied
from shared.eventing.processing import HttpAnswer
from shared.models.cluster import Cluster
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import ActionPlan
from shared.models.stored import Workload
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import (
    APPROVED,
    DENIED,
    POLICY,
    PROPOSED,
    Deliver,
    connection_of,
    id_of,
    in_parallel,
    revision_of,
    rows,
    set_columns,
    told,
)


def policy(store: Store, *rules: dict[str, Any], name: str = "limit", **fields: Any) -> None:
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": name, "rules": rules, **fields}), "tests")


def quota(scope: str = "team", **limits: Any) -> dict[str, Any]:
    return {"type": "quota", "scope": scope, **limits}


def ceiling(usd: str, scope: str = "workload") -> dict[str, Any]:
    return {"type": "cost_ceiling", "scope": scope, "usd_per_hour": usd}


def gpus(count: int, sku: str | None = "L4") -> dict[str, Any]:
    return {"gpu": {"count": count, "sku": sku} if sku else {"count": count}}


def approved(answer: HttpAnswer) -> PlanApproved:
    event = told(answer)
    assert event.type == APPROVED, event.data
    return PlanApproved.model_validate(event.data)


def denied(answer: HttpAnswer) -> PlanDenied:
    event = told(answer)
    assert event.type == DENIED, event.data
    return PlanDenied.model_validate(event.data)


def workload(store: Store, name: str = "test-inference") -> Workload:
    with store.begin() as work:
        found = work.workloads.get(id_of(name))
    assert found is not None
    return found


def plan(store: Store, plan_id: uuid.UUID) -> ActionPlan:
    with store.begin() as work:
        found = work.plans.get(plan_id)
    assert found is not None
    return found


def held(engine: sa.Engine, table: str = "reservations") -> dict[tuple[str, str], int]:
    """GPUs by (cluster, SKU), where anything is held at all."""
    return {(row["cluster"], row["sku"]): row["gpus"] for row in rows(engine, table) if row["replicas"]}


def runs(store: Store, name: str = "test-inference", phase: Phase = Phase.HEALTHY) -> None:
    """Makes the newest approved plan of a workload look executed and verified, as its first revision."""
    known = workload(store, name)
    done = plan(store, known.plan_id)
    with store.begin() as work:
        for step in (Phase.APPLYING, Phase.VERIFYING, Phase.HEALTHY):
            found = work.workloads.get(known.id, lock=True)
            assert found is not None
            work.workloads.advance(found, step)
        connection_of(work).execute(
            sa.text("UPDATE workloads SET revision = revision + 1, phase = :phase WHERE id = :id"),
            {"id": known.id, "phase": phase},
        )
        work.deployments.add(revision_of(known, done))
        work.deployments.supersede_before(known.id, known.revision + 1)
        set_columns(work, "action_plans", done.id, status=PlanStatus.EXECUTED)
        work.ledger.commit(done.id, work.now)


def outside(store: Store, verb: str, replicas: int = 0, **fields: Any) -> dict[str, Any]:
    """A plan of a decision service about the workload that `submission` makes."""
    known = workload(store)
    decision = {"verb": verb, "cluster": "local", "replicas": replicas} | fields.pop("decision", {})
    return {
        "plan": str(uuid.uuid4()),
        "workload": str(known.id),
        "generation": known.generation,
        "decisions": [decision],
        **fields,
    }


def test_a_denial_with_many_violations_lists_the_first_and_says_how_many_more(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    rules = [{"type": "quota", "scope": "team", "gpus": gpus} for gpus in (0, 1)]
    with store.begin() as work:
        for number in range(60):
            document = {"name": f"p{number:02}", "rules": rules}
            work.policies.put(PolicyDocument.model_validate(document), "tests")
    data = denied(deliver.decide())
    assert (len(data.violations), data.more_violations) == (100, 20)
    [decision] = rows(owner_engine, "policy_decisions")
    assert len(decision["violations"]) == 120


def test_a_denial_of_what_is_long_is_short(deliver: Deliver, store: Store, owner_engine: sa.Engine) -> None:
    policy(store, {"type": "security"})
    volumes = [{"name": f"v{n}", "mountPath": f"/{n}", "hostPath": "/" + "x" * 1000} for n in range(850)]
    answer = deliver.decide(volumes=volumes)
    observed = denied(answer).violations[0].observed
    assert (observed[:4], observed[-35:]) == ("/xxx", "xxxxxxx… and 852048 more characters")
    assert len(answer.body) < 10_000
    [decision] = rows(owner_engine, "policy_decisions")
    assert len(str(decision["violations"])) > 850_000


# One workload --------------------------------------------------------------------------------------------------------


def test_no_matching_policy_approves_with_a_warning_and_holds(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=0), selector={"teams": ["other"]})
    data = approved(deliver.decide())
    assert data.warnings == ("no_policy_matched",)
    assert (workload(store).phase, plan(store, data.plan).status) == (Phase.APPROVED, PlanStatus.APPROVED)
    assert held(owner_engine) == held(owner_engine, "usage") == {("local", "L4"): 2}
    [decision] = rows(owner_engine, "policy_decisions")
    assert (decision["plan_id"], decision["approved"], decision["determining"]) == (data.plan, True, [])
    assert decision["duration_us"] >= 0


def test_a_plan_at_the_limit_is_approved(deliver: Deliver, store: Store, owner_engine: sa.Engine) -> None:
    policy(store, quota(gpus=2), ceiling("2.1"))
    data = approved(deliver.decide())
    assert (data.warnings, data.usd_per_hour) == ((), Decimal("1.93068"))
    [decision] = rows(owner_engine, "policy_decisions")
    assert decision["determining"] == ["limit"]
    scopes = [(known["scope"]["kind"], known["scope"]["key"]) for known in decision["facts"]["usage"]]
    assert sorted(scopes) == [("cluster", "local"), ("global", ""), ("team", "search"), ("workload", str(id_of()))]


def test_a_plan_over_a_quota_is_denied_with_the_reason_and_holds_nothing(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=1), ceiling("1.93"))
    data = denied(deliver.decide())
    over_quota, over_ceiling = data.violations
    assert (over_quota.policy, over_quota.rule, over_quota.field) == ("limit", "quota", "gpus")
    assert (over_quota.limit, over_quota.observed) == ("1", "2")
    assert over_quota.message == "team search would hold 2 GPUs; its quota is 1"
    assert over_ceiling.message == "the workload would cost 1.930680 USD an hour; its ceiling is 1.93"
    assert over_ceiling.observed == "1.930680"
    assert held(owner_engine) == held(owner_engine, "usage") == {}
    known = workload(store)
    assert (known.phase, known.reason) == (Phase.DENIED, f"{over_quota.message}; {over_ceiling.message}")
    assert plan(store, data.plan).status is PlanStatus.DENIED
    audits = sorted(rows(owner_engine, "audit_log"), key=lambda row: row["sequence"])
    assert [row["action"] for row in audits] == ["plan.proposed", "plan.denied"]


def test_a_decided_plan_is_not_decided_again(deliver: Deliver, owner_engine: sa.Engine) -> None:
    proposed = deliver.submit()
    approved(deliver.forward(POLICY, proposed))
    again = deliver(POLICY, PROPOSED, proposed.body, source="/elsewhere")
    assert (again.status, len(rows(owner_engine, "policy_decisions"))) == (202, 1)


def test_tolerations_and_node_selectors_are_judged_and_that_of_gpu_nodes_is_not(deliver: Deliver, store: Store) -> None:
    policy(store, {"type": "security", "allowed_toleration_keys": [], "allowed_node_selector_keys": []})
    approved(deliver.decide("plain"))
    asked = {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"disk": "ssd"}}
    found = denied(deliver.decide("asking", **asked)).violations
    assert [(one.field, one.observed) for one in found] == [("tolerations", "every taint"), ("node_selector", "disk")]


def test_a_plan_is_judged_again_when_execution_proposes_it_again(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    proposed = deliver.submit()
    data = approved(deliver.forward(POLICY, proposed))
    with store.begin() as work:
        known = work.workloads.get(data.workload, lock=True)
        assert known is not None
        found = work.plans.get(data.plan)
        assert found is not None
        work.plans.propose_again(found, work.now, "its hold expired")
        work.workloads.advance(known, Phase.PROPOSED)
    policy(store, quota(gpus=1))
    denied(deliver(POLICY, PROPOSED, proposed.body, source="/sentinel/deployment-execution"))
    judged = sorted(rows(owner_engine, "policy_decisions"), key=lambda row: row["created_at"])
    assert [row["approved"] for row in judged] == [True, False]
    assert held(owner_engine, "usage") == {}


def test_a_plan_that_is_judged_again_is_not_held_up_by_its_own_action(deliver: Deliver, store: Store) -> None:
    policy(store, {"type": "rate_limit", "scope": "team", "actions": 1, "window": "PT1H"})
    proposed = deliver.submit()
    data = approved(deliver.forward(POLICY, proposed))
    with store.begin() as work:
        known = work.workloads.get(data.workload, lock=True)
        assert known is not None
        found = work.plans.get(data.plan)
        assert found is not None
        work.plans.propose_again(found, work.now, "its hold expired")
        work.workloads.advance(known, Phase.PROPOSED)
    approved(deliver(POLICY, PROPOSED, proposed.body, source="/sentinel/deployment-execution"))
    denied(deliver.decide(name="another"))


def test_an_unreadable_policy_denies_until_it_is_mended(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=100), selector={"teams": ["other"]})
    with owner_engine.begin() as connection:
        unreadable = '{"name": "limit", "rules": [{"type": "old"}]}'
        connection.execute(sa.text("UPDATE policies SET document = CAST(:d AS jsonb)"), {"d": unreadable})
    [violation] = denied(deliver.decide()).violations
    assert violation.message.startswith(
        "policy limit cannot be read and denies until it is mended or disabled: rules.0"
    )
    policy(store, quota(gpus=100))
    approved(deliver.decide(image="nginx:1.30"))


def test_an_unreadable_policy_that_is_disabled_denies_nothing(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=100), selector={"teams": ["other"]})
    with owner_engine.begin() as connection:
        unreadable = '{"name": "limit", "rules": [{"type": "old"}]}'
        connection.execute(sa.text("UPDATE policies SET document = CAST(:d AS jsonb)"), {"d": unreadable})
    denied(deliver.decide())
    with store.begin() as work:
        assert work.policies.set_enabled("limit", "ada", enabled=False)
    assert approved(deliver.decide(image="nginx:1.30")).warnings == ("no_policy_matched",)


@pytest.mark.parametrize("change", [{"mode": "warn"}, {"enabled": False}])
def test_a_policy_that_is_not_enforced_denies_nothing(deliver: Deliver, store: Store, change: dict[str, Any]) -> None:
    policy(store, quota(gpus=0), **change)
    warning = "limit: team search would hold 2 GPUs; its quota is 0"
    assert approved(deliver.decide()).warnings == ((warning,) if "mode" in change else ("no_policy_matched",))


# Several workloads ---------------------------------------------------------------------------------------------------


def test_a_team_quota_counts_every_workload_of_the_team(deliver: Deliver, store: Store) -> None:
    policy(store, quota(gpus=5))
    approved(deliver.decide("a"))
    approved(deliver.decide("b"))
    assert denied(deliver.decide("c")).violations[0].observed == "6"
    approved(deliver.decide("d", team="other", resources=gpus(2)))
    approved(deliver.decide("e", replicas=1))


def test_a_cluster_quota_and_a_global_ceiling_count_every_team(deliver: Deliver, store: Store) -> None:
    policy(store, quota("cluster", gpus_by_sku={"l4": 3}))
    policy(store, ceiling("2.95", "global"), name="money")
    approved(deliver.decide("a"))
    found = denied(deliver.decide("b", team="other"))
    assert [violation.field for violation in found.violations] == ["gpus_by_sku.L4", "usd_per_hour"]
    assert [violation.policy for violation in found.violations] == ["limit", "money"]
    approved(deliver.decide("c", team="other", replicas=1))


def test_gpus_without_a_sku_count_in_the_quota_of_every_sku(deliver: Deliver, store: Store) -> None:
    policy(store, quota(gpus_by_sku={"H100": 1}), selector={"skus": ["H100"]})
    found = denied(deliver.decide("any", resources=gpus(2, None)))
    assert found.violations[0].message == "team search would hold 4 H100 GPUs; its quota is 1"
    approved(deliver.decide("none", resources={}))
    approved(deliver.decide("other", resources=gpus(2, "L4")))


def test_an_update_counts_the_larger_of_old_and_new_and_its_surge(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=5))
    approved(deliver.decide())
    runs(store)
    approved(deliver.decide(replicas=4, image="nginx:1.30"))
    assert held(owner_engine) == held(owner_engine, "usage") == {("local", "L4"): 5}
    found = denied(deliver.decide(replicas=5, image="nginx:1.31"))
    assert found.violations[0].observed == "6"


def test_a_denied_update_gives_back_what_an_earlier_one_held(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=5))
    approved(deliver.decide())
    runs(store)
    approved(deliver.decide(replicas=4, image="nginx:1.30"))
    denied(deliver.decide(replicas=9, image="nginx:1.31"))
    assert held(owner_engine) == held(owner_engine, "usage") == {("local", "L4"): 2}


def test_a_scale_down_and_a_removal_are_never_denied(deliver: Deliver, store: Store, owner_engine: sa.Engine) -> None:
    approved(deliver.decide(replicas=4))
    runs(store)
    policy(store, quota(gpus=0), ceiling("0"))
    with store.begin() as work:  # and the price went up tenfold
        connection_of(work).execute(sa.text("UPDATE prices SET usd_per_hour = usd_per_hour * 10"))
    fewer = approved(deliver.decide(replicas=3))
    assert len(fewer.warnings) == 2
    runs(store)
    approved(deliver.forward(POLICY, deliver.withdraw()))
    assert held(owner_engine) == {("local", "L4"): 4}, "the reservation returns once the pods are observed gone"


def test_a_hold_on_another_cluster_returns_when_a_plan_moves_on(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    with store.begin() as work:
        work.catalogue.register_cluster(Cluster("other", {"region": "us"}, {"L4": 4}))
    policy(store, quota(gpus=2))
    approved(deliver.decide())
    approved(deliver.decide(clusters={"matchLabels": {"region": "us"}}))
    assert held(owner_engine) == held(owner_engine, "usage") == {("other", "L4"): 2}


# Races ---------------------------------------------------------------------------------------------------------------


def test_plans_that_are_decided_at_once_never_exceed_the_quota_by_one(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=7), ceiling("30", "global"))
    proposals = [deliver.submit(f"w-{n}") for n in range(8)]
    answers = in_parallel(*(partial(deliver.forward, POLICY, proposal) for proposal in proposals))
    verdicts = sorted(told(answer).type for answer in answers)
    assert verdicts == [APPROVED] * 3 + [DENIED] * 5
    assert held(owner_engine, "usage") == {("local", "L4"): 6}


def test_money_is_not_oversold_by_a_cent(deliver: Deliver, store: Store, owner_engine: sa.Engine) -> None:
    policy(store, ceiling("5.792040", "team"))  # exactly six replicas
    proposals = [deliver.submit(f"w-{n}", replicas=n % 3 + 1) for n in range(8)]
    in_parallel(*(partial(deliver.forward, POLICY, proposal) for proposal in proposals))
    total = sum((row["usd_per_hour"] for row in rows(owner_engine, "usage")), Decimal(0))
    assert total == Decimal("0.965340") * sum(row["replicas"] for row in rows(owner_engine, "reservations"))
    assert total <= Decimal("5.792040")


# Superseded plans and plans from outside -----------------------------------------------------------------------------


def test_a_plan_that_is_not_the_newest_is_superseded(deliver: Deliver, store: Store, owner_engine: sa.Engine) -> None:
    old = deliver.submit()
    new = deliver.submit(image="nginx:1.30")
    data = denied(deliver.forward(POLICY, old))
    assert data.violations[0].rule == "superseded"
    assert plan(store, data.plan).status is PlanStatus.SUPERSEDED
    assert workload(store).phase is Phase.PROPOSED
    approved(deliver.forward(POLICY, new))
    assert held(owner_engine) == {("local", "L4"): 2}


def test_a_forged_event_changes_no_figure(deliver: Deliver, store: Store) -> None:
    policy(store, quota(gpus=1))
    data = told(deliver.submit()).data
    assert isinstance(data, dict)
    removal = {"verb": "remove", "cluster": "local", "replicas": 0}
    forged: dict[str, object] = {**data, "usdPerHour": "0", "decisions": [removal]}
    assert denied(deliver(POLICY, PROPOSED, forged)).decision.verb == "deploy"


def test_a_plan_about_an_unknown_workload_is_poison(deliver: Deliver, store: Store) -> None:
    deliver.submit()
    answer = deliver(POLICY, PROPOSED, outside(store, "remove", workload=str(uuid.uuid4())))
    assert (answer.status, b"there is no workload" in answer.body) == (422, True)


def test_a_plan_of_another_workload_is_poison(deliver: Deliver, store: Store) -> None:
    data = told(deliver.submit("other")).data
    deliver.submit()
    assert isinstance(data, dict)
    answer = deliver(POLICY, PROPOSED, outside(store, "remove", plan=data["plan"]))
    assert (answer.status, b"is not about workload" in answer.body) == (422, True)


@pytest.mark.parametrize(
    ("verb", "fields", "reason"),
    [
        ("deploy", {}, b"decisions[0].verb: a plan from outside may scale, remove; to deploy, submit the workload"),
        ("rollback", {}, b"decisions[0].verb"),
        ("update", {}, b"decisions[0].verb"),
        ("remove", {"source": "user"}, b"source: a plan from outside has the source decision_service, not user"),
        ("scale", {"source": "health"}, b"source: a plan from outside"),
        ("scale", {"generation": 2}, b"generation: the workload is at 1, the plan is for 2"),
        ("scale", {"decision": {"cluster": "moon"}}, b"decisions[0].cluster: the workload does not run on moon"),
    ],
)
def test_what_a_plan_from_outside_may_not(
    deliver: Deliver, store: Store, verb: str, fields: dict[str, Any], reason: bytes
) -> None:
    deliver.decide()
    runs(store)
    before = workload(store)
    answer = deliver(POLICY, PROPOSED, outside(store, verb, 3, **fields))
    assert (answer.status, reason in answer.body) == (422, True), answer.body
    assert workload(store) == before


def test_a_plan_from_outside_is_about_what_runs(deliver: Deliver, store: Store) -> None:
    deliver.decide()
    assert deliver(POLICY, PROPOSED, outside(store, "scale", 3)).status == 422
    runs(store)
    deliver.forward(POLICY, deliver.withdraw())
    assert deliver(POLICY, PROPOSED, outside(store, "scale", 3)).status == 422


def test_a_job_is_not_scaled_from_outside(deliver: Deliver, store: Store) -> None:
    deliver.decide(type="training")
    runs(store)
    answer = deliver(POLICY, PROPOSED, outside(store, "scale", 3))
    assert (answer.status, b"a Job cannot be scaled" in answer.body) == (422, True)


def test_an_autoscaled_workload_is_not_scaled_from_outside(deliver: Deliver, store: Store) -> None:
    deliver.decide(replicas={"max": 6})
    runs(store)
    answer = deliver(POLICY, PROPOSED, outside(store, "scale", 3))
    assert (answer.status, b"an autoscaler chooses the replicas, 1-6" in answer.body) == (422, True)


def test_a_scale_from_outside_is_judged_by_our_own_figures(
    deliver: Deliver, store: Store, owner_engine: sa.Engine
) -> None:
    policy(store, quota(gpus=3))
    deliver.decide()
    runs(store)
    found = denied(deliver(POLICY, PROPOSED, outside(store, "scale", 4, usdPerHour="0")))
    assert found.violations[0].observed == "4"
    data = approved(deliver(POLICY, PROPOSED, outside(store, "scale", 3)))
    assert workload(store).plan_id == data.plan
    assert held(owner_engine) == {("local", "L4"): 3}


def test_a_removal_from_outside_withdraws(deliver: Deliver, store: Store) -> None:
    deliver.decide()
    runs(store)
    approved(deliver(POLICY, PROPOSED, outside(store, "remove")))
    assert workload(store).withdrawn is True
    assert deliver.withdraw().status == 202


def test_what_was_submitted_and_does_not_run_is_not_scaled_from_outside(deliver: Deliver, store: Store) -> None:
    deliver.decide()
    runs(store)
    policy(store, quota(gpus=2))
    denied(deliver.decide(image="nginx:1.30"))
    answer = deliver(POLICY, PROPOSED, outside(store, "scale", 1, generation=2))
    assert (answer.status, b"what runs is not what was last submitted" in answer.body) == (422, True)
