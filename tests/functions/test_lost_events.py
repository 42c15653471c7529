"""No event of the chain is lost for good.

If one is lost with all that would have followed, the tick takes the work up again in 15 s. Nobody can lose one by what
they post, and none is lost because its id was used before.
"""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.eventing import codec
from shared.eventing.event import MAX_HOPS, outgoing_id
from shared.models.lifecycle import ANNOUNCE_AGAIN, Phase, PlanStatus
from shared.models.plan import plan_id
from shared.store import inbox
from shared.store.tables import inbox as inbox_table
from tests.support.builders import POLICY, PROPOSED, connection_of
from tests.support.chain import Chain, Message

AGAIN_SECONDS = ANNOUNCE_AGAIN.total_seconds() + 1
NEVER = "fate.test/never-ready"


def lose(chain: Chain, message: Message, after: int) -> None:
    """Delivers an event and `after` of the events that follow from it; the next one is lost."""
    answer = chain.send(message)
    for _ in range(after):
        answer = chain.forward(answer)
    assert answer.status == 200, "there is nothing to lose"
    chain.relayed()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_submission_is_carried_out_whichever_event_is_lost(chain: Chain, after: int) -> None:
    lose(chain, chain.submitted(), after)
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    assert len(chain.revisions()) == 1
    assert chain.gpus() == 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_withdrawal_is_carried_out_whichever_event_is_lost(chain: Chain, after: int) -> None:
    chain.submit()
    chain.settle()
    lose(chain, chain.withdrawn(), after)
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    assert chain.settle().phase is Phase.REMOVED
    assert chain.site.objects("Deployment") == []
    assert chain.reserved() == {}


def test_a_rollback_is_carried_out_though_its_proposal_is_lost(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.submit(image=NEVER)
    chain.pass_time(601)
    chain.tick(run=False)
    chain.relayed()
    assert chain.workload().phase is Phase.PROPOSED
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    assert chain.settle().phase is Phase.ROLLED_BACK


def test_an_undecided_plan_is_announced_once_in_15_seconds(chain: Chain) -> None:
    chain.send(chain.submitted())
    assert chain.tick(run=False).status == 202
    chain.pass_plan_time(AGAIN_SECONDS)
    assert chain.tick(run=False).headers["ce-type"] == "dev.sentinel.plan.proposed.v1"
    assert chain.tick(run=False).status == 202
    chain.pass_plan_time(AGAIN_SECONDS)
    assert chain.tick(run=False).status == 200


def test_a_proposal_that_comes_after_its_announcement_decides_nothing_again(chain: Chain) -> None:
    late = chain.send(chain.submitted())
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    chain.settle()
    assert chain.forward(late).status == 202
    assert chain.actions().count("plan.approved") == 1


def test_an_approval_that_is_lost_does_not_wait_for_its_hold_to_expire(chain: Chain) -> None:
    lose(chain, chain.submitted(), 1)
    assert chain.plan().status is PlanStatus.APPROVED
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.actions().count("plan.proposed") == 1
    assert "plan.expired" not in chain.actions()


def test_a_plan_in_the_queue_is_not_announced(chain: Chain) -> None:
    chain.limit_gpus(1)
    chain.submit("other")
    chain.submit(queue=True)
    assert chain.workload().phase is Phase.QUEUED
    assert chain.plan().next_attempt_at is None


def test_policy_decides_a_plan_whose_proposal_is_lost_though_its_cluster_is_away(chain: Chain) -> None:
    chain.submit("other")
    chain.site.go_away()
    chain.submit("other", image="fate.test/ready:2")
    lose(chain, chain.submitted(), 0)
    chain.pass_plan_time(AGAIN_SECONDS)
    chain.tick()
    assert chain.workload().phase is Phase.WAITING


# What others post ----------------------------------------------------------------------------------------------------


def test_a_submission_with_as_many_hops_as_there_may_be_is_carried_out(chain: Chain) -> None:
    headers, body = chain.submitted()
    chain.run([({**headers, "ce-hop": str(MAX_HOPS)}, body)])
    assert chain.workload().revision == 1
    assert chain.settle().phase is Phase.HEALTHY


def test_an_event_whose_id_somebody_used_for_another_is_handled(chain: Chain) -> None:
    message = chain.submitted()
    guessed = outgoing_id("workload-intake", codec.decode(*message), PROPOSED, str(chain.id()), 0)
    decision = {"verb": "remove", "cluster": "local", "replicas": 0}
    forged = {"plan": str(uuid.uuid4()), "workload": str(uuid.uuid4()), "generation": 1, "decisions": [decision]}
    source = {"source": "/sentinel/workload-intake", "subject": str(chain.id())}
    assert chain.deliver(POLICY, PROPOSED, forged, event_id=str(guessed), **source).status == 422
    chain.run([message])
    assert chain.workload().revision == 1
    assert chain.settle().phase is Phase.HEALTHY


def test_a_submission_whose_plan_id_somebody_used_gets_another(chain: Chain) -> None:
    chain.submit()
    running = chain.settle()
    headers, body = chain.submitted(image="fate.test/ready:2")
    guessed = plan_id(chain.id(), f"{headers['ce-source']}\n{headers['ce-id']}")
    decision = {"verb": "scale", "cluster": "local", "replicas": 2}
    outside = {"plan": str(guessed), "workload": str(chain.id()), "generation": 1, "decisions": [decision]}
    assert chain.deliver(POLICY, PROPOSED, outside).status == 200
    chain.run([(headers, body)])
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.workload().generation == running.generation + 1
    assert chain.plan().id != guessed
    [container] = chain.site.object()["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "fate.test/ready:2"


# An id that is used again --------------------------------------------------------------------------------------------


def forget_events(chain: Chain) -> None:
    """The inbox knows no event any more, as when their time has come."""
    with chain.store.begin() as work:
        connection = connection_of(work)
        connection.execute(inbox_table.update().values(updated_at=sa.func.now() - timedelta(days=8)))
        inbox.forget_old(connection, timedelta(days=7), 1000)


def test_a_submission_that_comes_again_after_the_inbox_forgot_it_changes_nothing(chain: Chain) -> None:
    message = chain.submitted(image="fate.test/ready:1")
    chain.run([message])
    chain.settle()
    chain.submit(image="fate.test/ready:2")
    before = chain.settle()
    forget_events(chain)
    answer = chain.send(message)
    assert answer.headers["ce-type"] == "dev.sentinel.workload.rejected.v1"
    assert b"was taken in before, for generation 1" in answer.body
    assert chain.workload() == before


def test_a_withdrawal_that_comes_again_after_the_inbox_forgot_it_removes_nothing(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    message = chain.withdrawn()
    chain.run([message])
    chain.settle()
    chain.submit()
    before = chain.settle()
    forget_events(chain)
    assert chain.send(message).headers["ce-type"] == "dev.sentinel.workload.rejected.v1"
    assert chain.workload() == before
