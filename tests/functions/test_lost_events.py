"""Any one event of the chain is lost with all that would have followed: the tick takes the work up again in 15 s."""

import pytest

from shared.models.lifecycle import ANNOUNCE_AGAIN, Phase, PlanStatus
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
