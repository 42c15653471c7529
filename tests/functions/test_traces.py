"""A workload's trace goes on through ticks and the queue, whoever finds what is left to be done."""

import uuid

import pytest

from shared.models.lifecycle import Phase
from tests.support.chain import Chain, Message


def trace() -> tuple[str, str]:
    """The id of a new trace, and a traceparent in it."""
    trace_id = uuid.uuid4().hex
    return trace_id, f"00-{trace_id}-b7ad6b7169203331-01"


def traced(message: Message, traceparent: str) -> Message:
    headers, body = message
    return {**headers, "ce-traceparent": traceparent}, body


def traces_of(chain: Chain, name: str = "web") -> list[str]:
    """The ids of the traces that the events about a workload belong to; "" for none."""
    subject = str(chain.id(name))
    about = [event.attributes for event in chain.told if event.attributes["subject"] == subject]
    return [attributes.get("traceparent", "")[3:35] for attributes in about]


def test_what_ticks_find_goes_on_in_the_trace_of_the_submission(chain: Chain) -> None:
    """The revision is ready after its bake time, which a tick sees, and every tick is traced by somebody else."""
    trace_id, parent = trace()
    chain.run([traced(chain.submitted(bake="PT1S"), parent)])
    assert chain.workload().phase is Phase.VERIFYING
    chain.until_seen(lambda: chain.site.object().get("status", {}), lambda status: "readyReplicas" in status)
    for _ in range(2):
        chain.pass_time(3)
        chain.tick(traceparent=trace()[1])
    assert chain.workload().phase is Phase.HEALTHY
    assert "deployment.healthy" in chain.told_types("web")
    assert set(traces_of(chain)) == {trace_id}


def test_a_rollback_goes_on_in_the_trace_of_what_it_undoes(chain: Chain) -> None:
    chain.submit()
    chain.settle()
    chain.told.clear()
    trace_id, parent = trace()
    chain.run([traced(chain.submitted(image="fate.test/never-ready"), parent)])
    chain.pass_time(601)
    chain.tick()
    chain.workload_is(Phase.ROLLED_BACK)
    assert "deployment.rolledback" in chain.told_types("web")
    assert set(traces_of(chain)) == {trace_id}


def test_what_befalls_a_workload_later_is_no_part_of_its_submission(chain: Chain) -> None:
    chain.run([traced(chain.submitted(), trace()[1])])
    chain.settle()
    chain.told.clear()
    chain.site.someone.delete(chain.site.path("Deployment", "web"))
    chain.sweep()
    chain.workload_is(Phase.ROLLED_BACK)
    assert set(traces_of(chain)) == {""}


def test_a_plan_that_waits_in_the_queue_keeps_its_trace(chain: Chain) -> None:
    chain.submit("other")
    chain.settle("other")
    chain.limit_gpus(1)
    trace_id, parent = trace()
    chain.run([traced(chain.submitted(queue=True), parent)])
    assert chain.workload().phase is Phase.QUEUED
    chain.run([traced(chain.withdrawn("other"), trace()[1])])
    chain.workload_is(Phase.HEALTHY)
    assert "deployment.healthy" in chain.told_types("web")
    assert set(traces_of(chain)) == {trace_id}


@pytest.mark.parametrize("parent", ["", "00-1-1-01"])
def test_nothing_is_remembered_of_what_has_no_trace(chain: Chain, parent: str) -> None:
    chain.run([traced(chain.submitted(), parent)])
    chain.settle()
    with chain.store.begin() as work:
        assert [one.traceparent for one in work.deployments.of_workload(chain.id())] == [None]
    assert chain.plan().traceparent is None
