"""A breach of an objective rolls back what changed last within its window, or scales up; once, and so often an hour."""

import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from shared.models.lifecycle import Phase
from shared.models.plan import Verb
from shared.models.slo import Breach, Crossing
from shared.store.tables import slo_breaches
from tests.support.builders import connection_of, in_parallel, request
from tests.support.chain import Chain, Message

BREACHED = "dev.sentinel.slo.breached.v1"
HOUR = timedelta(hours=1)


def breach(chain: Chain, name: str = "web", *, factor: float = 14.4, over: bool = False, **told: Any) -> Message:
    """The event of a breach of the last hour, which the store knows of."""
    with chain.store.begin() as work:
        crossing = Crossing(0.999, factor, HOUR, timedelta(minutes=5))
        begun = Breach(uuid.uuid4(), chain.id(name), "slo", crossing, 20.0, work.now)
        assert work.breaches.add(begun)
        if over:
            work.breaches.end(begun.id, work.now)
    return event(chain, begun.id, name, **told)


def event(chain: Chain, breach_id: uuid.UUID, name: str = "web", **told: Any) -> Message:
    workload = str(chain.id(name))
    data = {"workload": workload, "objective": "min_success_rate", "breach": str(breach_id), **told}
    return request(BREACHED, data, subject=workload)


def outcomes(chain: Chain) -> list[str | None]:
    with chain.store.begin() as work:
        found = sa.select(slo_breaches.c.outcome).order_by(slo_breaches.c.created_at)
        return list(connection_of(work).execute(found).scalars())


def updated(chain: Chain) -> None:
    """A workload that was healthy, was updated just now, and is healthy again."""
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    chain.submit(image="fate.test/ready:2")
    chain.workload_is(Phase.HEALTHY)


def image(chain: Chain) -> str:
    return str(chain.site.object()["spec"]["template"]["spec"]["containers"][0]["image"])


def pass_an_hour(chain: Chain) -> None:
    with chain.store.begin() as work:
        decided = slo_breaches.c.decided_at - HOUR
        connection_of(work).execute(slo_breaches.update().values(decided_at=decided))


def test_what_changed_last_within_the_window_is_rolled_back(chain: Chain) -> None:
    updated(chain)
    chain.run([breach(chain)])
    plan = chain.plan()
    assert (plan.decision.verb, plan.decision.revision, plan.source) == (Verb.ROLLBACK, 1, "health")
    chain.workload_is(Phase.ROLLED_BACK)
    assert image(chain) == "fate.test/ready"
    assert outcomes(chain) == ["proposed"]
    with chain.store.begin() as work:
        counted = sa.text("SELECT labels, value FROM tallies WHERE name = 'rollbacks_total'")
        assert [tuple(row) for row in connection_of(work).execute(counted)] == [(["slo_breached"], 1)]


@pytest.mark.slow
def test_without_a_change_within_the_window_it_scales_up(chain: Chain) -> None:
    updated(chain)
    chain.pass_time(3601, applied_at=True)
    chain.run([breach(chain)])
    assert (chain.plan().decision.verb, chain.plan().decision.replicas) == (Verb.SCALE, 2)
    chain.workload_is(Phase.HEALTHY)
    assert (chain.site.object()["spec"]["replicas"], image(chain)) == (2, "fate.test/ready:2")
    assert chain.gpus() == 2


@pytest.mark.slow
def test_policy_decides_on_the_scale_up(chain: Chain) -> None:
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    chain.limit_gpus(1)
    chain.run([breach(chain)])
    assert (chain.plan().decision.verb, chain.plan().status) == (Verb.SCALE, "denied")
    assert (chain.site.object()["spec"]["replicas"], chain.gpus()) == (1, 1)


@pytest.mark.slow
def test_what_is_delivered_of_a_breach_again_proposes_nothing_more(chain: Chain) -> None:
    updated(chain)
    message = breach(chain)
    headers, body = message
    again = [({**headers, "ce-id": f"again-{number}"}, body) for number in range(3)]
    answers = in_parallel(*(partial(chain.send, one) for one in (message, message, *again)))
    assert {one.status for one in answers} <= {200, 202, 409, 503}
    chain.run([message, *again])
    chain.workload_is(Phase.ROLLED_BACK)
    pass_an_hour(chain)
    chain.run([({**headers, "ce-id": "late"}, body)])
    assert [one.revision for one in chain.revisions()] == [1, 2, 3]


@pytest.mark.slow
def test_breaches_of_one_cause_lead_to_one_plan_an_hour_and_then_to_a_note(chain: Chain) -> None:
    updated(chain)
    chain.run([breach(chain, factor=factor) for factor in (14.4, 6, 3, 1)])
    chain.workload_is(Phase.ROLLED_BACK)
    chain.until(lambda: outcomes_when_due(chain), lambda found: "waiting" not in found)
    assert outcomes(chain) == ["proposed", "noted", "noted", "noted"]
    assert [one.revision for one in chain.revisions()] == [1, 2, 3]
    assert chain.actions().count("plan.proposed") == 3


def outcomes_when_due(chain: Chain) -> list[str | None]:
    """What each breach has led to; those that wait are due."""
    with chain.store.begin() as work:
        earlier = slo_breaches.update().values(decided_at=slo_breaches.c.decided_at - timedelta(seconds=15))
        connection_of(work).execute(earlier.where(slo_breaches.c.outcome == "waiting"))
    return outcomes(chain)


def test_a_plan_in_progress_goes_first_and_is_rolled_back_if_the_breach_lasts(chain: Chain) -> None:
    chain.submit()
    chain.workload_is(Phase.HEALTHY)
    approved = chain.until_approved(image="fate.test/ready:2")
    chain.run([breach(chain)])
    assert outcomes(chain) == ["waiting"]
    chain.follow(approved)
    chain.workload_is(Phase.HEALTHY)
    chain.until(lambda: outcomes_when_due(chain), lambda found: found == ["proposed"])
    chain.workload_is(Phase.ROLLED_BACK)
    assert image(chain) == "fate.test/ready"


@pytest.mark.slow
def test_a_rollback_is_not_rolled_back_and_what_runs_instead_of_the_submission_is_not_scaled(chain: Chain) -> None:
    updated(chain)
    chain.run([breach(chain)])
    chain.workload_is(Phase.ROLLED_BACK)
    pass_an_hour(chain)
    chain.run([breach(chain, factor=6)])
    assert outcomes(chain) == ["proposed", "noted"]
    assert chain.actions()[-1] == "slo.breach.noted"


def test_a_job_and_a_range_of_replicas_and_what_is_over_lead_to_a_note(chain: Chain) -> None:
    chain.submit("train", type="training", image="fate.test/slow")
    chain.submit("auto", replicas={"min": 1, "max": 2})
    chain.workload_is(Phase.HEALTHY, "auto")
    chain.submit("gone")
    chain.workload_is(Phase.HEALTHY, "gone")
    before = [chain.plan(name).id for name in ("train", "auto", "gone")]
    chain.run([breach(chain, "train"), breach(chain, "auto"), breach(chain, "gone", over=True)])
    assert outcomes(chain) == ["noted"] * 3
    assert [chain.plan(name).id for name in ("train", "auto", "gone")] == before


def test_the_end_of_a_breach_asks_for_nothing_and_one_that_nobody_knows_is_refused(chain: Chain) -> None:
    updated(chain)
    chain.run([breach(chain, state="over")])
    assert (outcomes(chain), chain.plan().decision.verb) == ([None], Verb.UPDATE)
    answer = chain.send(event(chain, uuid.uuid4()))
    assert answer.status == 422
    assert b"has no breach" in answer.body
