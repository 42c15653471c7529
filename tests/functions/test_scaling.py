"""Scaling what does not run well: fewer replicas are never denied, more are, and another image is no scale."""

from typing import Any

import sqlalchemy as sa

from shared.models.lifecycle import Phase, PlanStatus
from shared.models.plan import Verb
from shared.policy.documents import PolicyDocument
from tests.support.builders import rows
from tests.support.chain import Chain

NEVER = "fate.test/never-ready"
RULES = [
    {"type": "quota", "scope": "team", "gpus": 1},
    {"type": "cost_ceiling", "usd_per_hour": "0"},
    {"type": "rate_limit", "scope": "team", "actions": 1, "window": "PT1H"},
]


def forbid(chain: Chain) -> None:
    """More than there is of everything: no plan that takes anything passes."""
    with chain.store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": "nothing", "rules": RULES}), "tests")


def is_never_ready(chain: Chain, **fields: Any) -> None:
    chain.submit(image=NEVER, **fields)
    chain.pass_time(601)
    chain.tick()


def expect_only_fewer(chain: Chain, engine: sa.Engine, image: str) -> None:
    """What runs has three replicas of that image: which plans pass?"""
    forbid(chain)
    spent, held = len(rows(engine, "actions")), chain.gpus()
    chain.submit(image=image, replicas=4)
    assert (chain.plan().decision.verb, chain.plan().status) == (Verb.SCALE, PlanStatus.DENIED)
    chain.submit(image="fate.test/other", replicas=2)
    assert (chain.plan().decision.verb, chain.plan().status) == (Verb.UPDATE, PlanStatus.DENIED)
    chain.submit(image=image, replicas=2)
    plan = chain.plan()
    assert (plan.decision.verb, plan.status) == (Verb.SCALE, PlanStatus.EXECUTED)
    with chain.store.begin() as work:
        decision = work.plans.decisions_on(chain.id())[-1]
    assert (decision.approved, len(decision.warnings)) == (True, 3)
    assert len(rows(engine, "actions")) == spent
    assert chain.site.object()["spec"]["replicas"] == 2
    assert chain.gpus() <= held


def test_a_first_revision_that_never_became_ready(chain: Chain, owner_engine: sa.Engine) -> None:
    is_never_ready(chain, replicas=3)
    assert chain.workload().phase is Phase.FAILED
    expect_only_fewer(chain, owner_engine, NEVER)


def test_a_revision_under_verification(chain: Chain, owner_engine: sa.Engine) -> None:
    chain.submit(image=NEVER, replicas=3)
    assert chain.workload().phase is Phase.VERIFYING
    expect_only_fewer(chain, owner_engine, NEVER)


def test_a_restored_revision_is_scaled_though_another_was_submitted_last(chain: Chain, owner_engine: sa.Engine) -> None:
    chain.submit(replicas=3)
    chain.settle()
    is_never_ready(chain, replicas=5)
    chain.workload_is(Phase.ROLLED_BACK)
    expect_only_fewer(chain, owner_engine, "fate.test/ready")


def test_a_restored_revision_that_is_degraded(chain: Chain, owner_engine: sa.Engine) -> None:
    chain.submit(replicas=3)
    chain.settle()
    is_never_ready(chain, replicas=5)
    chain.workload_is(Phase.ROLLED_BACK)
    with chain.store.begin() as work:  # as verification does after two looks at pods that are not ready
        work.deployments.mark_degraded(chain.revisions()[-1], work.now, "")
        work.workloads.advance(chain.workload(), Phase.DEGRADED)
    expect_only_fewer(chain, owner_engine, "fate.test/ready")
