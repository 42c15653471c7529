"""A submission that waits in the queue while its workload is rolled back: it keeps its place and is proposed again."""

import uuid
from typing import Any

from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import ActionPlan, Verb
from shared.policy.documents import PolicyDocument
from tests.support.builders import POLICY, request
from tests.support.chain import TICK, Chain
from tests.support.queueing import RECONSIDERED

NEVER = "fate.test/never-ready"
NEWER = "fate.test/ready:newer"


def queued_behind_a_broken_revision(chain: Chain, first: dict[str, Any] | None = None, **fields: Any) -> uuid.UUID:
    """The plan of a submission for 4 GPUs that waits while the revision before it breaks. Another workload holds 3."""
    chain.submit("other", replicas=3)
    chain.settle("other")
    chain.submit(**(first or {}))
    chain.settle()
    chain.submit(image=NEVER)
    chain.limit_gpus(6)
    chain.submit(replicas=4, queue=True, **{"image": NEWER, **fields})
    assert chain.workload().phase is Phase.QUEUED
    return chain.plan().id


def break_revision(chain: Chain, *, run: bool = True) -> None:
    chain.pass_time(601)
    chain.tick(run=run)


def image(chain: Chain) -> str:
    return str(chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"])


def plan(chain: Chain, plan_id: uuid.UUID) -> ActionPlan:
    with chain.store.begin() as work:
        found = work.plans.get(plan_id)
    assert found is not None
    return found


def tick_of_policy(chain: Chain) -> None:
    """What the tick has policy look at, and all that follows."""
    answer = chain.send(request(TICK, {}, subject=None), POLICY)
    if answer.headers.get("ce-type") in chain.routes:
        chain.follow(answer)


def test_it_is_carried_out_after_the_rollback_when_there_is_room(chain: Chain) -> None:
    waiting = queued_behind_a_broken_revision(chain)
    break_revision(chain)
    chain.until(lambda: "deployment.rolledback" in chain.told_types("web"), bool)
    assert (chain.workload().phase, chain.workload().plan_id) == (Phase.QUEUED, waiting)
    assert image(chain) == "fate.test/ready"
    chain.withdraw("other")
    chain.workload_is(Phase.REMOVED, "other")
    assert chain.settle().phase is Phase.HEALTHY
    assert (image(chain), chain.workload().generation, chain.gpus()) == (NEWER, 3, 4)
    assert "plan.resumed" in chain.actions()


def test_what_it_does_is_worked_out_anew(chain: Chain) -> None:
    """It only added replicas to the revision that broke; to the one that runs again it is an update with its surge.

    Its place in the queue is the one that it had.
    """
    waiting = queued_behind_a_broken_revision(chain, image=NEVER)
    before = plan(chain, waiting)
    assert before.decision.verb is Verb.SCALE
    break_revision(chain)
    found = chain.until(lambda: plan(chain, waiting), lambda one: one.decision.verb is not Verb.SCALE)
    assert (found.decision.verb, found.decision.replicas, found.surge.gpus) == (Verb.UPDATE, 4, 1)
    assert (found.status, found.queued_at) == (PlanStatus.QUEUED, before.queued_at)


def test_it_is_left_alone_while_the_rollback_goes_on(chain: Chain) -> None:
    """Neither the tick nor an event that was on its way ends it, and none decides it."""
    waiting = queued_behind_a_broken_revision(chain)
    break_revision(chain, run=False)
    rollback = chain.plan()
    assert rollback.decision.verb is Verb.ROLLBACK
    announced = {
        "plan": str(waiting),
        "workload": str(chain.id()),
        "generation": 3,
        "decisions": [{"verb": "update", "cluster": "local", "replicas": 4}],
    }
    assert chain.send(request(RECONSIDERED, announced)).status == 202
    tick_of_policy(chain)
    assert plan(chain, waiting).status is PlanStatus.QUEUED
    assert chain.workload().plan_id == rollback.id


def test_it_is_proposed_again_when_the_rollback_is_denied(chain: Chain) -> None:
    waiting = queued_behind_a_broken_revision(chain, {"security": {"privileged": True}})
    with chain.store.begin() as work:
        document = {"name": "hardened", "rules": [{"type": "security"}]}
        work.policies.put(PolicyDocument.model_validate(document), "tests")
    break_revision(chain)
    assert chain.workload().phase is Phase.DENIED
    tick_of_policy(chain)
    assert (chain.workload().phase, chain.workload().plan_id) == (Phase.QUEUED, waiting)


def test_a_newer_submission_takes_its_place(chain: Chain) -> None:
    waiting = queued_behind_a_broken_revision(chain)
    break_revision(chain, run=False)
    chain.send(chain.submitted(image="fate.test/ready:newest"))
    tick_of_policy(chain)
    assert plan(chain, waiting).status is PlanStatus.SUPERSEDED
