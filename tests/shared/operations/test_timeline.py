"""The timeline of a workload: one entry for each thing that happened, with all that is known of it."""

import uuid
from dataclasses import replace

import pytest

from shared.models.dead_letter import DeadLetter
from shared.models.deployment import Deployment, ObjectReference
from shared.models.lifecycle import RevisionStatus
from shared.models.page import PageRequest
from shared.operations import dead_letters, policies
from shared.operations.timeline import TimelineEntry, timeline
from shared.policy.documents import PolicyDocument
from shared.store.unit_of_work import Store
from tests.support.builders import POLICY, TESTS, Deliver, id_of

LIMIT = PolicyDocument.model_validate({"name": "limit", "rules": [{"type": "quota", "gpus": 2}]})
LETTER = DeadLetter("http://f", "/s", "e", "t", str(id_of()), {"id": "e"}, b"\x00{", 422, "no")


def revision(plan: uuid.UUID) -> Deployment:
    reference = ObjectReference("Deployment", "search", "test-inference")
    return Deployment(uuid.uuid4(), id_of(), 1, 1, plan, "local", reference, {}, RevisionStatus.INTENDED)


def whole(store: Store, workload_id: uuid.UUID | None = None) -> list[TimelineEntry]:
    with store.read() as work:
        return [*timeline(work, workload_id or id_of(), PageRequest(1000, "time")).items]


def test_entries_are_in_the_order_in_which_they_happened(store: Store, deliver: Deliver) -> None:
    with store.begin() as work:
        policies.put(work, LIMIT, "ada", TESTS)
    deliver.decide()
    deliver.decide(replicas=9)
    deliver.submit(replicas=-1)
    with store.begin() as work:
        dead_letters.keep(work, LETTER, TESTS)
        workload = work.workloads.get(id_of())
        assert workload is not None
        work.deployments.add(revision(workload.plan_id))
    entries = whole(store)
    assert [entry.what for entry in entries[:5]] == [
        *("plan.proposed", "plan.approved", "plan.proposed", "plan.denied", "workload.rejected"),
    ]
    assert {entry.what for entry in entries[5:]} == {"event.dead_lettered", "deployment.intended"}
    assert entries[3].detail["policies"] == ["limit"]
    assert entries[0].detail["verb"] == "deploy"


def test_what_became_of_a_rejected_submission_is_on_record(store: Store, deliver: Deliver) -> None:
    deliver.submit("wrong", team="default", namespace="default", replicas=-1)
    [entry] = whole(store, id_of("wrong", "default", "default"))
    assert entry.what == "workload.rejected"
    assert whole(store, uuid.uuid4()) == []


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_show_every_entry_once_in_the_order_of_all(
    store: Store, deliver: Deliver, limit: int, backwards: bool
) -> None:
    """With a plan that stays in the queue, which has no row, and a revision that was not applied."""
    with store.begin() as work:
        policies.put(work, LIMIT, "ada", TESTS)
    deliver.decide("other")
    headers, body = deliver.forwarded(deliver.submit(queue=True))
    for number in range(4):
        deliver.raw(POLICY, {**headers, "ce-id": f"e{number}"}, body)
    with store.begin() as work:
        dead_letters.keep(work, LETTER, TESTS)
        work.deployments.add(revision(uuid.uuid4()))
    expected = whole(store)
    assert [entry.what for entry in expected].count("plan.denied") == 3, "decided again, and still in the queue"
    if backwards:
        expected.reverse()
    shown: list[TimelineEntry] = []
    request = PageRequest(limit, "time", backwards)
    while True:
        with store.read() as work:
            page = timeline(work, id_of(), request)
        assert len(page.items) <= limit
        shown += page.items
        if page.next is None:
            break
        request = replace(request, after=page.next)
    assert shown == expected


def test_a_decision_is_no_second_entry_where_its_row_is_on_the_next_page(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    with store.read() as work:
        first = timeline(work, id_of(), PageRequest(1, "time"))
        second = timeline(work, id_of(), PageRequest(1, "time", after=first.next))
    assert [[entry.what for entry in page.items] for page in (first, second)] == [["plan.proposed"], ["plan.approved"]]
    assert second.items[0].detail["duration_us"] >= 0
    assert second.next is None
