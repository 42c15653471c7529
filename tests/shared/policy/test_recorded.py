"""What is kept beside a decision gives the same decision again."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from pydantic import ValidationError

from shared.models.plan import Verb
from shared.models.pod import Security
from shared.policy.decision import PlanView
from shared.policy.facts import ActionQuery, Facts, ServiceLevel
from shared.policy.policy_set import StoredPolicy
from shared.policy.recorded import from_json, to_json
from shared.policy.vocabulary import ScopeKind
from tests.support.policies import HOUR, NOW, decide, known, situations, view


@given(situations())
def test_a_recorded_plan_and_its_facts_are_decided_the_same(drawn: tuple[PlanView, list[StoredPolicy], Facts]) -> None:
    plan, found, facts = drawn
    decision = decide(plan, found, facts)
    again = from_json(json.loads(json.dumps(to_json(plan, facts, NOW))))
    assert (again.plan, again.facts, again.now) == (plan, facts, NOW)
    assert decide(again.plan, found, again.facts, again.now) == decision


def test_everything_survives() -> None:
    plan = view(
        security=Security(privileged=True, host_pid=True, add_capabilities=("SYS_ADMIN",)),
        host_paths=("/data",),
        created_at=NOW - timedelta(microseconds=1),
        queue=True,
        tolerations=("dedicated", ""),
        node_selector=("disk",),
    )
    query = ActionQuery(plan.counting(ScopeKind.TEAM), (Verb.SCALE,), HOUR)
    level = ServiceLevel(0.25, 10.5, 1.0, {50: 0.1, 99: 0.5}, NOW)
    facts = known(plan, 3, actions={query: (NOW,)}, service={HOUR: level}, capacity={"L4": 8, "H100": 0})
    assert plan.reduces_harm is False  # what was worked out before is not recorded
    recorded = to_json(plan, facts, NOW)
    assert "reduces_harm" not in json.dumps(recorded)
    again = from_json(json.loads(json.dumps(recorded)))
    assert (again.plan, again.facts) == (plan, facts)


def test_a_record_that_cannot_be_read_says_so() -> None:
    recorded = to_json(view(), Facts(), NOW)
    with pytest.raises(ValidationError):
        from_json({**recorded, "usage": "none"})
    with pytest.raises(ValidationError):
        from_json({})
    with pytest.raises(ValidationError):
        from_json({"plan": "none"})
