"""R11, as far as it is built: every change names its actor, also one that was begun, cut off and begun again.

What is not built is the binding of identities to teams: whoever may post an event may act for any team.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from shared.models.actor import Actor
from shared.store.tables import audit_log
from tests.faults.proxies import WRITES, LoseAnswer
from tests.faults.testbed import Testbed
from tests.support.builders import connection_of
from tests.support.running import eventually

pytestmark = pytest.mark.xdist_group("testbed-2")

USER = str(Actor.event_source("/flows"))
POLICY, EXECUTION, VERIFICATION = (
    str(Actor.function(name)) for name in ("policy-evaluation", "deployment-execution", "health-verification")
)


def test_r11_every_change_names_its_actor_after_faults_too(testbed: Testbed) -> None:
    with testbed.failing("kubernetes-local", LoseAnswer(WRITES)):
        workload = testbed.submit("acted-on", "local")
        eventually(lambda: testbed.hits("kubernetes-local"), bool)
    testbed.converged(lambda: testbed.exactly_once(["acted-on"], ["local"]))
    testbed.withdraw("acted-on")
    testbed.converged(lambda: testbed.remaining(["acted-on"]))

    query = sa.select(audit_log.c.action, audit_log.c.actor).where(audit_log.c.subject == str(workload))
    rows = testbed.read(lambda work: connection_of(work).execute(query.distinct()).all())
    actors: dict[str, set[str]] = {}
    for row in rows:
        actors.setdefault(row.action, set()).add(row.actor)
    assert actors.pop("plan.proposed") == {USER}
    assert actors.pop("plan.approved") == {POLICY}
    assert actors.pop("deployment.applied") == actors.pop("deployment.removed") == {EXECUTION}
    assert actors.pop("deployment.healthy") == actors.pop("deployment.gone") == {VERIFICATION}
    assert set().union(*actors.values()) <= {USER, POLICY, EXECUTION, VERIFICATION}
