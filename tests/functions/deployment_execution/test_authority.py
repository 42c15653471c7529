"""Events notify; they authorise nothing. The plan's row decides."""

import os
import uuid
from typing import Any

import pytest

from events.plan import PlanApproved
from shared.models.lifecycle import Phase, PlanStatus
from shared.operations import ledger_check
from tests.support.chain import PLAN_APPROVED, TICK, Chain


def forge(chain: Chain, **changes: object) -> int:
    approved = PlanApproved.of(chain.plan()).model_dump(mode="json", by_alias=True) | changes
    return chain.deliver(chain.execution, PLAN_APPROVED, approved).status


def untouched(chain: Chain, status: PlanStatus) -> None:
    assert chain.site.objects("Deployment") == []
    assert chain.plan().status is status
    assert chain.revisions() == []


@pytest.mark.parametrize("field", ["plan", "workload"])
def test_a_plan_or_workload_that_does_not_exist_is_poison(chain: Chain, field: str) -> None:
    chain.until_approved()
    assert forge(chain, **{field: str(uuid.uuid4())}) == 422
    untouched(chain, PlanStatus.APPROVED)


def test_a_plan_of_another_workload_is_poison(chain: Chain) -> None:
    chain.until_approved("other")
    chain.until_approved()
    assert forge(chain, workload=str(chain.id("other"))) == 422
    untouched(chain, PlanStatus.APPROVED)


def test_a_plan_that_policy_has_not_seen_is_poison(chain: Chain) -> None:
    chain.send(chain.submitted())
    assert forge(chain) == 422
    untouched(chain, PlanStatus.PROPOSED)
    assert chain.reserved() == {}


def test_a_denied_plan_is_poison(chain: Chain) -> None:
    chain.limit_gpus(0)
    chain.submit()
    assert forge(chain) == 422
    untouched(chain, PlanStatus.DENIED)


def test_a_queued_plan_is_poison_and_keeps_its_place(chain: Chain) -> None:
    chain.submit("other", replicas=3)
    chain.limit_gpus(8)
    chain.submit(replicas=6, queue=True)
    place = chain.plan().queued_at
    assert forge(chain) == 422
    assert (chain.plan().status, chain.plan().queued_at) == (PlanStatus.QUEUED, place)
    assert chain.revisions() == []


def test_a_queued_plan_of_what_runs_is_poison(chain: Chain) -> None:
    """Also where the lines of what runs are written down as this plan's, because they gave back an earlier one's."""
    chain.submit("other", replicas=3)
    chain.submit(replicas=1)
    chain.settle()
    chain.until_approved(replicas=2, image="fate.test/ready:2")
    chain.limit_gpus(8)
    chain.submit(replicas=5, image="fate.test/ready:3", queue=True)
    assert forge(chain) == 422
    assert chain.plan().status is PlanStatus.QUEUED
    assert chain.site.object()["spec"]["replicas"] == 1
    assert chain.gpus() == 1


def test_what_the_event_says_of_the_plan_does_not_count(chain: Chain) -> None:
    approved = chain.until_approved(replicas=1)
    lie = {"decisions": [{"verb": "deploy", "cluster": "local", "replicas": 9}], "generation": 7}
    assert forge(chain, **lie) == 200
    assert chain.site.object()["spec"]["replicas"] == 1
    assert chain.forward(approved).status == 202


def test_an_expired_hold_is_proposed_again_and_not_applied(chain: Chain) -> None:
    approved = chain.until_approved()
    chain.pass_plan_time(601)
    answer = chain.forward(approved)
    assert answer.headers["ce-type"] == "dev.sentinel.plan.proposed.v1"
    untouched(chain, PlanStatus.PROPOSED)
    assert chain.workload().phase is Phase.PROPOSED
    chain.follow(answer)
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.gpus() == 1


def test_an_expired_hold_may_be_denied_the_second_time(chain: Chain) -> None:
    approved = chain.until_approved()
    chain.limit_gpus(0)
    chain.pass_plan_time(601)
    chain.follow(approved)
    assert chain.workload().phase is Phase.DENIED
    assert chain.gpus() == 0
    untouched(chain, PlanStatus.DENIED)


def test_a_superseded_plan_is_not_applied(chain: Chain) -> None:
    old = chain.until_approved(image="fate.test/ready:1")
    new = chain.until_approved(image="fate.test/ready:2")
    first = chain.plan()
    assert chain.forward(old).status == 202
    assert chain.site.objects("Deployment") == []
    chain.run([(new.headers, new.body), (old.headers, old.body)])
    assert chain.settle().phase is Phase.HEALTHY
    assert chain.plan().id == first.id
    assert [d.revision for d in chain.revisions()] == [1]
    assert chain.actions().count("plan.superseded") == 1


def test_a_denied_edit_leaves_what_runs_alone(chain: Chain) -> None:
    chain.submit(replicas=1)
    chain.settle()
    chain.limit_gpus(2)
    chain.submit(replicas=5)
    assert chain.workload().phase is Phase.DENIED
    assert chain.site.object()["spec"]["replicas"] == 1
    assert chain.gpus() == 1


@pytest.mark.parametrize("queue", [True, False], ids=["queued", "denied"])
def test_an_edit_that_is_not_approved_leaves_a_rollout_its_surge(chain: Chain, *, queue: bool) -> None:
    """And what it replaces, which may be more; but not what an edit between them was given and never came to."""
    chain.submit("other", replicas=4)
    chain.submit(replicas=3)
    chain.settle()
    chain.settle("other")
    applied = chain.apply(replicas=2, image="fate.test/ready:2")
    assert chain.gpus() == 3 + 1
    chain.until_approved(replicas=5, image="fate.test/ready:3")
    assert chain.gpus() == 5 + 1
    chain.limit_gpus(9)
    chain.submit(replicas=6, image="fate.test/ready:4", queue=queue)
    assert chain.workload().phase is (Phase.QUEUED if queue else Phase.DENIED)
    assert chain.gpus() == 3 + 1
    chain.follow(applied)
    chain.until(chain.gpus, lambda gpus: gpus == 2)


def test_what_a_rollout_replaces_is_held_through_every_edit_until_one_of_them_is_healthy(chain: Chain) -> None:
    def on(sku: str) -> dict[str, Any]:
        return {"resources": {"cpu": "100m", "memory": "64Mi", "gpu": {"count": 1, "sku": sku}}}

    def held() -> dict[str, int]:
        return {sku: amounts.gpus for sku, amounts in chain.reserved().items() if amounts.gpus}

    chain.submit(replicas=4, **on("L4"))
    chain.settle()
    chain.apply(replicas=2, image="fate.test/never-ready:2", **on("H100"))
    assert held() == {"L4": 4, "H100": 2 + 1}
    chain.apply(replicas=1, image="fate.test/never-ready:3", **on("A100-80GB"))
    assert held() == {"L4": 4, "H100": 2, "A100-80GB": 1 + 1}
    ready = chain.apply(replicas=1, image="fate.test/ready:4", **on("A100-80GB"))
    assert held() == {"L4": 4, "H100": 2, "A100-80GB": 1 + 1}
    with chain.store.read() as work:
        assert not ledger_check.check(work)
    chain.follow(ready)
    chain.until(held, lambda lines: lines == {"A100-80GB": 1})


@pytest.mark.parametrize("how", [{"event_id": "x"}, {"source": "/x"}, {"subject": "x"}])
def test_what_no_index_can_hold_is_refused_as_malformed(chain: Chain, how: dict[str, str]) -> None:
    how = {name: text + os.urandom(2000).hex() for name, text in how.items()}
    assert chain.deliver(chain.execution, PLAN_APPROVED, {}, **how).status == 400


def test_other_types_of_events_are_poison(chain: Chain) -> None:
    assert chain.deliver(chain.execution, TICK, {}).status == 422
