"""`sentinel trace`: one line for each thing that happened, with everything that is known about it."""

import uuid
from dataclasses import replace

from shared.models.dead_letter import DeadLetter
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.builders import PROPOSED, TESTS, Deliver, id_of, set_columns


def revision(number: int, plan: uuid.UUID) -> Deployment:
    return Deployment(
        id=uuid.uuid4(),
        workload_id=id_of(),
        revision=number,
        generation=1,
        plan_id=plan,
        cluster="local",
        reference=ObjectReference("Deployment", "search", "test-inference"),
        manifest={},
        status=RevisionStatus.INTENDED,
    )


def letter() -> DeadLetter:
    return DeadLetter(
        destination="http://policy-evaluation",
        source="/test",
        event_id="event-1",
        type=PROPOSED,
        subject=str(id_of()),
        attributes={},
        body=b"",
        error_code=422,
        reason="there is no workload",
    )


def test_a_denial_is_one_line_with_its_violations(sentinel: Sentinel, deliver: Deliver, store: Store) -> None:
    quota = {"type": "quota", "scope": "plan", "gpus": 1, "replicas": 1}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": "small", "rules": [quota]}), "tests")
    deliver.decide()
    ran = sentinel("trace", "test-inference")
    assert ran.code == 0
    title, header, proposed, denied = ran.lines
    assert title == f"{id_of()}  search/search/test-inference  denied"
    assert header.split() == ["TIME", "WHAT", "DETAIL"]
    assert "plan.proposed" in proposed
    assert "verb=deploy  cluster=local  replicas=2  generation=1  source=user  plan_status=denied" in proposed
    assert "image=nginx:1.29" in proposed
    assert "violations=the plan would hold 2 replicas; its quota is 1; the plan would hold 2 GPUs" in denied
    assert "policies=small" in denied
    assert "warnings" not in denied


def test_programs_get_every_violation_whole(sentinel: Sentinel, deliver: Deliver, store: Store) -> None:
    rule = {"type": "cost_ceiling", "scope": "plan", "usd_per_hour": "1"}
    with store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": "cheap", "rules": [rule]}), "tests")
    deliver.decide()
    told = sentinel("trace", id_of(), "-o", "json").json
    assert [one["what"] for one in told] == ["plan.proposed", "plan.denied"]
    assert told == sentinel("trace", id_of(), "-o", "yaml").yaml
    assert told[0]["at"].endswith("Z")
    [violation] = told[1]["detail"]["violations"]
    assert (violation["policy"], violation["field"], violation["limit"]) == ("cheap", "usd_per_hour", "1")


def test_a_plan_that_is_judged_twice_keeps_both_verdicts(sentinel: Sentinel, deliver: Deliver, store: Store) -> None:
    deliver.decide()
    with store.begin() as work:
        [first] = work.plans.decisions_on(id_of())
    with store.begin() as work:
        work.audit("plan.approved", str(id_of()), TESTS, plan=str(first.plan_id))
        again = replace(first, id=uuid.uuid4(), decided_at=work.now, warnings=["judged again"])
        work.plans.record_decision(again)
    told = sentinel("trace", id_of(), "-o", "json").json
    assert [one["detail"].get("warnings") for one in told] == [None, ["no_policy_matched"], ["judged again"]]


def test_revisions_are_woven_into_what_the_audit_log_says_of_them(
    sentinel: Sentinel, deliver: Deliver, store: Store
) -> None:
    deliver.decide()
    with store.begin() as work:
        workload = work.workloads.get(id_of())
        assert workload is not None
        applied = revision(1, workload.plan_id)
        work.deployments.add(applied)
        set_columns(work, "deployments", applied.id, applied_at=work.now)
        work.audit("deployment.applied", str(id_of()), TESTS, plan=str(workload.plan_id), revision=1)
    with store.begin() as work:
        work.deployments.add(revision(2, workload.plan_id))
    told = sentinel("trace", id_of(), "-o", "json").json
    assert [one["what"] for one in told] == [
        *("plan.proposed", "plan.approved", "deployment.applied", "deployment.intended"),
    ]
    applied, intended = told[2:]
    assert (applied["detail"]["revision"], intended["detail"]["revision"]) == (1, 2)
    assert applied["detail"]["object"] == "Deployment search/test-inference"
    assert told[1]["detail"]["warnings"] == ["no_policy_matched"]
    shown = sentinel("trace", id_of()).lines[-1]
    assert "object=Deployment search/test-inference  revision_status=intended" in shown
    assert "rollback_of" not in shown
    assert not any("at" in one["detail"] for one in told)


def test_dead_letters_of_the_workload_are_part_of_its_story(sentinel: Sentinel, deliver: Deliver, store: Store) -> None:
    deliver.submit()
    with store.begin() as work:
        work.dead_letters.keep(letter())
    with store.begin() as work:
        work.dead_letters.keep(letter())
        work.audit("event.dead_lettered", str(id_of()), TESTS, id="event-1", destination="http://policy-evaluation")
    last = sentinel("trace", id_of()).lines[-1]
    assert "event.dead_lettered" in last
    assert "error_code=422  reason=there is no workload  redriven=False" in last
    assert len(sentinel("trace", id_of()).lines) == 4


def test_a_workload_that_was_never_taken_in_has_a_story_too(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit("wrong", team="default", namespace="default", replicas=-1)
    ran = sentinel("trace", "wrong")
    assert ran.code == 0
    assert ran.lines[0] == f"{id_of('wrong', 'default', 'default')}  never taken in"
    assert "workload.rejected" in ran.lines[2]
    assert "errors=replicas: Input should be greater than or equal to 0" in ran.lines[2]


def test_a_name_without_any_record_is_not_found(sentinel: Sentinel) -> None:
    ran = sentinel("trace", "nothing")
    assert (ran.code, ran.out, ran.err) == (1, "", "sentinel: there is no workload nothing\n")
