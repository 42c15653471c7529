"""R6, R7 and R12: what is bad harms nobody else, and a rollback takes nothing that belongs to others."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from shared.clusters.kubeconfig import read_connection
from shared.models.dead_letter import DeadLetter
from shared.models.lifecycle import Phase
from shared.store import audit
from shared.store.tables import workloads
from tests.faults.proxies import WRITES, AnswerWith, DelayRequest, Hang, LoseAnswer
from tests.faults.testbed import Testbed
from tests.support.running import SUBMITTED, eventually, workload
from tests.support.someone import Someone

pytestmark = pytest.mark.xdist_group("testbed-2")

DEPLOYMENTS = "/apis/apps/v1/namespaces/flows/deployments"
EACH = 12


def test_r3_the_audit_chain_shows_a_row_that_was_changed_deleted_or_swapped(testbed: Testbed) -> None:
    """On a database that has been through faults; every way of tampering is in tests/shared/store/test_audit.py."""
    testbed.submit("audited", "local")
    testbed.converged(lambda: testbed.exactly_once(["audited"], ["local"]))
    newest = "(shard, sequence) = (SELECT shard, sequence FROM audit_log WHERE sequence > 1 ORDER BY 1, 2 LIMIT 1)"
    tampered = (
        f"UPDATE audit_log SET body = body || ' ' WHERE {newest}",
        f"DELETE FROM audit_log WHERE sequence = 1 AND shard = (SELECT shard FROM audit_log WHERE {newest})",
        f"UPDATE audit_log SET actor = 'somebody' WHERE {newest}",
    )
    with testbed.owner() as owner:
        with owner.connect() as connection:
            assert audit.verify(connection) == []
        for statement in tampered:
            with owner.connect() as connection:
                connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
                assert connection.execute(sa.text(statement)).rowcount == 1
                assert audit.verify(connection) != []
                connection.rollback()


def test_r6_a_rollback_restores_what_sentinel_owns_and_nothing_of_others(testbed: Testbed) -> None:
    """The answers to its writes are lost meanwhile, so that each is tried again."""
    name = "restored"
    testbed.submit(name, "local", image="fate.test/ready:1", replicas=2)
    testbed.converged(lambda: testbed.exactly_once([name], ["local"]))
    someone = Someone(read_connection(testbed.stand_ins["local"].kubeconfig))
    path = f"{DEPLOYMENTS}/{name}"
    theirs = {"annotations": {"example.com/by": "them"}}
    someone.patch(path, {"metadata": theirs, "spec": {"template": {"metadata": theirs}}})
    before = someone.get(path)

    testbed.submit(name, "local", image="fate.test/crash", replicas=3, env={"A": "b"}, deadline="PT60S")
    eventually(lambda: testbed.phases([name])[name], lambda phase: phase is Phase.VERIFYING)
    with testbed.failing("kubernetes-local", LoseAnswer(WRITES)):
        eventually(lambda: testbed.hits("kubernetes-local"), bool)

    def rolled_back() -> list[str]:
        phase = testbed.phases([name])[name]
        return [] if phase is Phase.ROLLED_BACK else [f"{name} is {phase}"]

    testbed.converged(rolled_back)
    after = someone.get(path)
    someone.close()
    assert _without_revision(after) == _without_revision(before)


def _without_revision(found: dict[str, Any]) -> dict[str, Any]:
    """The spec, and the metadata that is nobody's record of when or in which revision something was written."""
    metadata = found["metadata"]
    annotations = {k: v for k, v in metadata["annotations"].items() if k == "example.com/by"}
    return {"spec": found["spec"], "labels": metadata["labels"], "annotations": annotations}


def test_r7_a_poison_event_delays_nobody_and_its_dead_letter_says_why(testbed: Testbed) -> None:
    """One is refused at once, and one is answered 500 at every attempt; others pass meanwhile."""
    retried, names = f"retried-{uuid.uuid4()}", [f"beside-{number}" for number in range(6)]
    with testbed.failing("workload-intake", AnswerWith("500 Internal Server Error", to=retried.encode())):
        testbed.platform.publish(
            SUBMITTED, workload("retried", clusters={"matchLabels": {"place": "local"}}), id=retried
        )
        refused = testbed.platform.publish(SUBMITTED, b"{not json")
        for name in names:
            testbed.submit(name, "local")
        testbed.converged(lambda: testbed.exactly_once(names, ["local"]))
        assert testbed.hits("workload-intake") >= 2
        assert testbed.phases(["retried"]) == {}

        def find() -> DeadLetter | None:
            letters = testbed.read(lambda work: work.dead_letters.find(limit=1000))
            return next((letter for letter in letters if letter.event_id == refused), None)

        letter = eventually(find, lambda found: found is not None)
    assert letter is not None
    assert (letter.body, letter.error_code) == (b"{not json", 400)
    assert "not JSON" in letter.reason
    testbed.converged(lambda: testbed.exactly_once(["retried"], ["local"]))


def test_r12_a_cluster_that_hangs_delays_nobody_on_the_other(testbed: Testbed) -> None:
    """The figure of this promise is measured by `python -m tests.bench neighbours`."""
    hung, healthy = [[f"{kind}-{number}" for number in range(EACH)] for kind in ("on-hung", "on-healthy")]
    with testbed.failing("kubernetes-far", Hang()):
        for name in hung:
            testbed.submit(name, "far")
        eventually(lambda: testbed.hits("kubernetes-far"), bool)
        for name in healthy:
            testbed.submit(name, "local")
        eventually(lambda: testbed.exactly_once(healthy, ["local"]), lambda wrong: not wrong)
        assert Phase.HEALTHY not in testbed.phases(hung).values()
    testbed.converged(lambda: testbed.exactly_once(hung, ["far"]) + testbed.exactly_once(healthy, ["local"]))


def test_r12_a_stored_row_that_cannot_be_read_delays_nobody(testbed: Testbed) -> None:
    """It may come from another release. The tick, which looks at all workloads, passes it over."""
    testbed.submit("unreadable", "local")
    testbed.converged(lambda: testbed.exactly_once(["unreadable"], ["local"]))
    named = workloads.c.name == "unreadable"
    with testbed.owner() as owner, owner.begin() as connection:
        spec = connection.execute(sa.select(workloads.c.spec).where(named)).scalar_one()
        connection.execute(workloads.update().where(named).values(spec={"name": 7}))
    names = [f"beside-unreadable-{number}" for number in range(4)]
    try:
        testbed.submit(names[0], "local", image="fate.test/slow")  # the tick sees it become healthy
        for name in names[1:]:
            testbed.submit(name, "local")
        eventually(lambda: testbed.exactly_once(names, ["local"]), lambda wrong: not wrong)
    finally:
        with testbed.owner() as owner, owner.begin() as connection:
            connection.execute(workloads.update().where(named).values(spec=spec))
    testbed.converged(lambda: testbed.exactly_once(["unreadable", *names], ["local"]))


def test_an_admission_webhook_of_17_seconds_is_waited_for(testbed: Testbed) -> None:
    """An API server gives a webhook up to 30 s, and takes the request back from a client that leaves before."""
    with testbed.failing("kubernetes-local", DelayRequest(17.0, rb"\APATCH ")):
        testbed.submit("admitted", "local")
        eventually(lambda: testbed.exactly_once(["admitted"], ["local"]), lambda wrong: not wrong)
        assert testbed.hits("kubernetes-local") == 1
