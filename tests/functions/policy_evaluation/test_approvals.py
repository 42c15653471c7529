"""Plans that await a person's approval: through policy evaluation, the operations of the person, and the chain."""

import uuid
from datetime import timedelta

import pytest

from events import CATALOGUE
from events.plan import PlanApproved, PlanAwaitingApproval, PlanReconsidered
from shared.errors import Forbidden, NotFound, WrongState
from shared.eventing.processing import HttpAnswer
from shared.models.actor import Actor, ActorKind
from shared.models.identity import Principal, Role, RoleBinding
from shared.models.lifecycle import Phase, PlanStatus
from shared.models.page import PageRequest
from shared.models.plan import ActionPlan, Verb
from shared.models.workload import WorkloadSpec
from shared.operations import approvals, backtest, policies, simulate
from shared.operations.approvals import AnswerApproval
from shared.operations.backtest import BacktestCommand
from shared.operations.simulate import SimulationOutcome
from shared.operations.timeline import timeline
from shared.policy.backtest import BacktestOutcome
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, TESTS, Deliver, request, set_columns, submission, told
from tests.support.chain import Chain
from tests.support.queueing import CHANGED, CUES, RECONSIDERED, TICK, denied, free, gpus, plan, policy, queued, workload

ADA = Principal(Actor(ActorKind.USER, "ada"), None, (RoleBinding(Role.OPERATOR, "search"),))


def awaiting(answer: HttpAnswer) -> PlanAwaitingApproval:
    event = told(answer)
    assert event.type == CATALOGUE.name_of(PlanAwaitingApproval), event.data
    return PlanAwaitingApproval.model_validate(event.data)


def decide_again(deliver: Deliver, found: ActionPlan) -> HttpAnswer:
    return deliver(POLICY, RECONSIDERED, PlanReconsidered.of(found))


@pytest.fixture
def asked(store: Store, deliver: Deliver) -> ActionPlan:
    """A plan that awaits an approval: it holds 2 GPUs, and 1 needs none."""
    policy(store, {"type": "approval", "gpus": 1})
    return plan(store, awaiting(deliver.decide("chat")).plan)


def test_a_plan_awaits_approval_and_holds_nothing(store: Store, asked: ActionPlan) -> None:
    assert (asked.status, asked.proposed_by, asked.team) == (
        PlanStatus.AWAITING_APPROVAL,
        "event_source:/test",
        "search",
    )
    assert asked.approval is not None
    assert asked.next_attempt_at == asked.approval.requested_at + timedelta(hours=24)
    known = workload(store, "chat")
    assert known.phase is Phase.AWAITING_APPROVAL
    assert "more than 1 GPUs (2) needs approval: a person must approve it by " in known.reason
    with store.begin() as work:
        assert work.ledger.reserved(known.id, known.cluster) == {}
        entries = timeline(work, known.id, PageRequest()).items
        [entry] = [one for one in entries if one.what == "plan.awaiting_approval"]
    assert entry.detail["policies"] == ["limit"]


def test_an_approved_plan_is_decided_again_with_the_approval_as_a_fact(
    store: Store, deliver: Deliver, asked: ActionPlan
) -> None:
    with store.begin() as work:
        answered = approvals.approve(work, AnswerApproval(asked.id, "for the launch"), ADA)
    assert told(decide_again(deliver, answered)).type == CATALOGUE.name_of(PlanApproved)
    done = plan(store, asked.id)
    assert done.status is PlanStatus.APPROVED
    assert done.approval is not None
    assert (done.approval.granted_by, done.approval.reason) == ("user:ada", "for the launch")
    with store.begin() as work:
        newest = work.plans.decisions_on(asked.workload_id)[-1]
        entries = work.audit_entries(str(asked.workload_id))
    assert newest.facts["plan"]["approval"]["granted_by"] == "user:ada"
    assert [str(one.actor) for one in entries if one.action == "approval.granted"] == ["user:ada"]


def test_a_lost_announcement_of_an_approval_is_made_up_for(store: Store, asked: ActionPlan) -> None:
    with store.begin() as work:
        approvals.approve(work, AnswerApproval(asked.id), ADA)
    with store.begin() as work:
        assert [one.id for one in work.plans.take_due(work.now, work.now + timedelta(seconds=15), 10)] == [asked.id]


def test_a_rejected_plan_is_denied(store: Store, asked: ActionPlan) -> None:
    with store.begin() as work:
        rejected = approvals.reject(work, AnswerApproval(asked.id, "too early"), ADA)
    assert rejected.finding.message == "user:ada has rejected it: too early"
    assert (plan(store, asked.id).status, workload(store, "chat").phase) == (PlanStatus.DENIED, Phase.DENIED)
    assert workload(store, "chat").reason == rejected.finding.message
    with pytest.raises(WrongState, match="is denied"), store.begin() as work:
        approvals.approve(work, AnswerApproval(asked.id), ADA)


def test_nobody_approves_twice(store: Store, asked: ActionPlan) -> None:
    with store.begin() as work:
        approvals.approve(work, AnswerApproval(asked.id), ADA)
    with pytest.raises(WrongState, match="by user:ada already"), store.begin() as work:
        approvals.approve(work, AnswerApproval(asked.id), ADA)


@pytest.mark.parametrize("answer", [approvals.approve, approvals.reject])
def test_who_may_not_answer(store: Store, asked: ActionPlan, answer: object) -> None:
    assert callable(answer)
    viewer = Principal(Actor(ActorKind.USER, "eve"), None, (RoleBinding(Role.SUBMITTER, "search"),))
    stranger = Principal(Actor(ActorKind.USER, "bob"), None, (RoleBinding(Role.ADMIN, "ads"),))
    with store.begin() as work:
        set_columns(work, "action_plans", asked.id, proposed_by="user:root")
    proposer = Principal(Actor(ActorKind.USER, "root"), None, (RoleBinding(Role.ADMIN),))
    for principal, error, said in (
        (viewer, Forbidden, "plans:approve for team search"),
        (stranger, NotFound, f"there is no action plan {asked.id}"),
        (proposer, Forbidden, "somebody else must"),
    ):
        with pytest.raises(error, match=said), store.begin() as work:
            answer(work, AnswerApproval(asked.id), principal)
    with pytest.raises(NotFound), store.begin() as work:
        answer(work, AnswerApproval(uuid.uuid4()), ADA)
    assert plan(store, asked.id).status is PlanStatus.AWAITING_APPROVAL


def test_a_plan_that_nobody_approves_in_time_is_denied(store: Store, deliver: Deliver, asked: ActionPlan) -> None:
    assert asked.approval is not None
    assert decide_again(deliver, asked).status == 202  # asked for once
    assert plan(store, asked.id).next_attempt_at == asked.next_attempt_at
    with store.begin() as work:
        longer_ago = asked.approval.requested_at - timedelta(hours=24)
        set_columns(work, "action_plans", asked.id, approval_requested_at=longer_ago, next_attempt_at=work.now)
    with store.begin() as work:
        [due] = work.plans.take_due(work.now, work.now + timedelta(seconds=15), 10)
    assert "nobody has approved it" in denied(decide_again(deliver, due)).violations[0].message
    assert workload(store, "chat").phase is Phase.DENIED


def test_a_newer_submission_takes_the_place_of_a_plan_that_awaits_approval(
    store: Store, deliver: Deliver, asked: ActionPlan
) -> None:
    deliver.decide("chat", replicas=1)
    assert (plan(store, asked.id).status, workload(store, "chat").phase) == (PlanStatus.SUPERSEDED, Phase.APPROVED)


def test_a_changed_policy_has_the_plans_that_await_approval_looked_at(
    store: Store, deliver: Deliver, asked: ActionPlan
) -> None:
    with store.begin() as work:
        policies.disable(work, "limit", "tests", TESTS)
    deliver(POLICY, CHANGED, CUES[CHANGED])
    with store.begin() as work:
        [due] = work.plans.take_due(work.now, work.now + timedelta(seconds=15), 10)
    decide_again(deliver, due)
    assert workload(store, "chat").phase is Phase.APPROVED


def test_a_plan_that_queues_is_approved_first_and_waits_for_room_then(store: Store, deliver: Deliver) -> None:
    policy(store, gpus(3), name="quota")
    deliver.decide("other")
    policy(store, {"type": "approval", "gpus": 1})
    asked = awaiting(deliver.decide("chat", queue=True))
    with store.begin() as work:
        found = approvals.approve(work, AnswerApproval(asked.plan), ADA)
    waiting = queued(decide_again(deliver, found))
    assert waiting.waits_for == ("team/search gpus",)
    free(store, "other")
    assert told(decide_again(deliver, plan(store, asked.plan))).type == CATALOGUE.name_of(PlanApproved)


def test_a_queued_plan_that_comes_to_need_approval_leaves_the_queue(store: Store, deliver: Deliver) -> None:
    policy(store, gpus(3), name="quota")
    deliver.decide("other")
    waiting = queued(deliver.decide("chat", queue=True))
    policy(store, {"type": "approval"})
    answer = deliver(POLICY, TICK, {})
    assert answer.status in (200, 202)
    assert awaiting(decide_again(deliver, plan(store, waiting.plan))).plan == waiting.plan
    assert workload(store, "chat").phase is Phase.AWAITING_APPROVAL


def tick_of_policy(chain: Chain) -> None:
    """What the tick has policy look at, and all that follows."""
    answer = chain.send(request(TICK, {}, subject=None), POLICY)
    if answer.headers.get("ce-type") in chain.routes:
        chain.follow(answer)


@pytest.mark.slow
def test_an_update_that_awaits_approval_does_not_hold_up_the_rollback_of_what_runs(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image="fate.test/never-ready")
    policy(chain.store, {"type": "approval", "verbs": ["update"]})
    chain.submit(image="fate.test/ready:newer")
    asked = chain.plan()
    assert chain.workload().phase is Phase.AWAITING_APPROVAL
    chain.pass_time(601)
    chain.tick(run=False)
    assert chain.plan().decision.verb is Verb.ROLLBACK
    chain.until(lambda: "deployment.rolledback" in chain.told_types("web"), bool)
    tick_of_policy(chain)
    assert chain.workload().plan_id == asked.id
    assert chain.workload().phase is Phase.AWAITING_APPROVAL
    with chain.store.begin() as work:
        approvals.approve(work, AnswerApproval(asked.id), ADA)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"] == "fate.test/ready:newer"


def test_a_simulation_says_that_a_person_would_have_to_approve(store: Store) -> None:
    policy(store, {"type": "approval", "gpus": 1})
    with store.read() as work:
        [simulated] = simulate.simulate(work, [WorkloadSpec.model_validate(submission("chat"))])
    [outlook] = simulated.outlooks
    assert outlook.outcome is SimulationOutcome.AWAITING_APPROVAL
    assert [one.change.replicas for one in outlook.suggestions] == [1]


def test_a_backtest_says_which_plans_would_have_awaited_approval(
    store: Store, deliver: Deliver, asked: ActionPlan
) -> None:
    """The plan that did await it is no difference, nor is its approval."""
    deliver.decide("other", replicas=1)
    with store.begin() as work:
        answered = approvals.approve(work, AnswerApproval(asked.id), ADA)
    decide_again(deliver, answered)
    candidate = PolicyDocument.model_validate({"name": "limit", "rules": [{"type": "approval"}]})
    command = BacktestCommand([candidate], timedelta(hours=1), only=True, limit=10)
    with store.read() as work:
        under_way = backtest.begin(work, command)
    list(backtest.replay(store, under_way))
    report = under_way.report
    assert report.outcomes == {BacktestOutcome.AWAITING_APPROVAL: 1}
    assert [one.plan.name for one in report.listed] == ["other"]
